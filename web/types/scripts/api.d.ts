// Only what we use of `/scripts/api.js` of ComfyUI's frontend. What some version between 1.20 and 1.58 lacks is optional.

export const api: {
  fetchApi(path: string, init?: RequestInit): Promise<Response>
  addEventListener(type: string, listener: (event: CustomEvent<any>) => void): void
  /** For event types the frontend does not know; `addEventListener` in older versions. */
  addCustomEventListener?(type: string, listener: (event: CustomEvent<any>) => void): void
}
