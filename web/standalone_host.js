// @ts-check

import { readLines } from './js/lines.js'

/** @import { Host, HostEvents } from './types/host' */

const TOKEN = 'model-resolver.token'
const RETRY_MS = 2000

/**
 * The panel's host on our own server, where there is no ComfyUI.
 *
 * @param {{ locale(): string, unauthorized(): void }} page `unauthorized`: the server wants a token
 */
export function createStandaloneHost(page) {
  /** @type {() => void} */
  let signedIn = () => {}

  /** @type {Host['fetch']} */
  async function send(path, init = {}) {
    const token = sessionStorage.getItem(TOKEN)
    const headers = new Headers(init.headers)
    if (token) headers.set('Authorization', `Bearer ${token}`)
    const response = await fetch(path, { ...init, headers })
    if (response.status === 401) page.unauthorized()
    return response
  }

  /** @type {Host} */
  const host = {
    kind: 'standalone',
    fetch: send,
    listen: (events) => void follow(send, events, () => new Promise((resolve) => (signedIn = resolve))),
    workflow: () => null,
    locale: page.locale
  }

  return {
    host,

    /** Whether the server has refused the token that was given. */
    isTokenWrong: () => sessionStorage.getItem(TOKEN) !== null,

    /** @param {string} token */
    signIn(token) {
      sessionStorage.setItem(TOKEN, token)
      signedIn()
    }
  }
}

/**
 * Follows the server's events for as long as the page is open. Read with `fetch`, because an `EventSource`
 * cannot send a token.
 *
 * @param {Host['fetch']} send
 * @param {HostEvents} events
 * @param {() => Promise<void>} signIn resolves once there is a new token
 */
async function follow(send, events, signIn) {
  for (let first = true; ; first = false) {
    try {
      const response = await send('/model-resolver/events', {
        headers: { Accept: 'text/event-stream', 'X-Model-Resolver': '1' }
      })
      if (response.status === 401) {
        await signIn()
        continue
      }
      if (response.ok && response.body) {
        if (!first) events.reconnected()
        await readEvents(response.body, events)
      }
    } catch {
      // The server is gone for now.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/**
 * The part of https://html.spec.whatwg.org/multipage/server-sent-events.html that our server uses.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @param {HostEvents} events
 */
async function readEvents(body, events) {
  let type = ''
  let data = ''
  for await (const line of readLines(body)) {
    if (line.startsWith('event:')) type = line.slice(6).trim()
    else if (line.startsWith('data:')) data += line.slice(5)
    else if (line === '') {
      const detail = data && JSON.parse(data)
      if (type === 'download') events.download(detail)
      else if (type === 'library' && detail.hashing) events.hashing(detail.hashing)
      else if (type === 'library') events.library()
      type = data = ''
    }
  }
}
