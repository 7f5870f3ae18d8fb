// Where the panel runs. ComfyUI's editor and the standalone page each hand the store one Host;
// nothing else in web/js knows which of the two it is in.

import type { Download, Hashing, Reference } from './contract'

export interface HostEvents {
  /** One download has changed. */
  download(download: Download): void
  /** Files have come or gone in the model folders. */
  library(): void
  /** How far hashing the library is. */
  hashing(hashing: Hashing): void
  /** Events may have been missed (socket or stream was down): ask for the state again. */
  reconnected(): void
}

/** One model to be loaded under the name of a file that is there. */
export interface Relink {
  references: Reference[]
  folder: string
  /** Relative path in the folder, with `/`. */
  name: string
}

/**
 * `not_listed`: the node does not offer that file. `no_place`: the value is nowhere it could be set
 * (in a text, in a node that is not installed) or is another by now. In both cases nothing was changed.
 */
export type RelinkOutcome = 'done' | 'not_listed' | 'no_place'

export interface Host {
  kind: 'comfyui' | 'standalone'
  /** `path` starts with `/` and is relative to the server's root. Rejects as `fetch` does. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  listen(events: HostEvents): void
  /** The open workflow, or null while there is none. */
  workflow(): object | null
  /** Opens a workflow file in the editor. Absent where there is none, or it cannot. */
  openFile?(file: File): Promise<void>
  /** BCP 47 tag of the language to show. */
  locale(): string
  /** Show the node on the canvas. Absent where there is no canvas. */
  locate?(nodeId: string): void
  /** The node's title as the user sees it; null if it is not there. */
  nodeTitle?(reference: Reference): string | null
  /** Model files were added: refresh the node inputs and whatever else lists models. */
  modelsChanged?(): Promise<void>
  /** These references name files that have just come: errors about them are settled. */
  settle?(references: Reference[]): void
  /** Sets the nodes to files that are there, all in one step of undo. Absent where there is no graph. */
  relink?(items: Relink[]): Promise<RelinkOutcome[]>
  /** A passing message, for when the panel is not on screen. */
  notify?(kind: 'success' | 'error', title: string, text: string): void
  /** Close the panel. Absent where it cannot be closed. */
  close?(): void
}
