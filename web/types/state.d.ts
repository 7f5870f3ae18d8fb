// The store's state, and the rows the views draw from it.

import type {
  Alternative,
  Analysis,
  Candidate,
  Credential,
  CredentialCheck,
  Download,
  DownloadItem,
  Duplicates,
  Folder,
  Hashing,
  Model,
  Provider,
  Resolution
} from './contract'
import type { RelinkOutcome } from './host'

/** A failure as the user is shown it. `message` is the server's own; `code` is stable. */
export interface Problem {
  code: string
  message: string
  /** HTTP status; 0 if there was no answer. */
  status: number
}

/** What the user decided about one model. */
export interface Choice {
  /** For a model whose folder nothing tells. */
  folder?: string
  /** URL of the chosen candidate. */
  url?: string
  /** A URL the user gave. */
  own?: Candidate
  /** Ticked or not by hand. */
  picked?: boolean
  /** Path of the file to use in place of the one the workflow names. */
  alternative?: string
}

/** What a provider said when it was asked about the token. */
export interface TokenCheck {
  busy: boolean
  result: CredentialCheck | null
  /** Why it could not be asked, or the token not be stored. */
  problem: Problem | null
}

/** A file that only some accounts may have, and whose token could open it. */
export interface Locked {
  provider: Provider
  url: string
}

/** What is known of the files on the server. */
export interface LibraryState {
  hashing: Hashing | null
  duplicates: Duplicates | null
  /** The server is being told to begin, pause, go on or end. */
  busy: boolean
  problem: Problem | null
}

export interface State {
  /** `idle`: no workflow. `failed`: the last scan failed, see `problem`. */
  phase: 'idle' | 'scanning' | 'ready' | 'failed'
  problem: Problem | null
  /** Of `file` if there is one, else of the open workflow. */
  analysis: Analysis | null
  /** Of the open workflow, as far as it is known. */
  graph: Analysis | null
  /** The workflow file to look at in place of the open workflow. */
  file: File | null
  /** When the scan that gave `analysis` began, ms. */
  scannedAt: number
  /** By `modelKey`. */
  resolutions: Map<string, Resolution>
  search: { running: boolean; found: number; total: number; problem: Problem | null }
  /** By model id. */
  choices: Map<string, Choice>
  folders: Folder[]
  /** Bytes that downloads leave free on a disk. */
  diskReserve: number
  /** By download id. */
  downloads: Map<string, Download>
  /** When we saw a download complete, ms, by download id. */
  completedAt: Map<string, number>
  /** Downloads shown in the overall progress: those started since nothing was running. */
  batch: Set<string>
  /** A request that starts downloads is on its way. */
  starting: boolean
  /** Nodes are being set to files that are there. */
  relinking: boolean
  /** Why that was not possible, by model id; until the next scan. */
  relinkProblems: Map<string, RelinkOutcome>
  /** Why the last action (start, pause, …) failed. */
  actionProblem: Problem | null
  /** What is known of the tokens; empty until the server was asked. */
  credentials: Credential[]
  /** By the URL of the file a token was to open; by provider where the token alone was asked about. */
  checks: Map<string, TokenCheck>
  /** URLs that a check has found open. */
  opened: Set<string>
  library: LibraryState
  /** Keys of what is unfolded: rows by model id, sections by name. */
  open: Set<string>
  /** What was just copied. */
  copied: string | null
}

export type RowState =
  | 'present'
  | 'elsewhere'
  | 'unsearched'
  | 'searching'
  | 'resolved'
  | 'ambiguous'
  | 'not_found'
  | 'queued'
  | 'active'
  | 'paused'
  | 'verifying'
  | 'completed'
  | 'failed'

export interface Row {
  id: string
  model: Model
  folder: string | null
  state: RowState
  resolution: Resolution | null
  /** All candidates, the user's own URL first. */
  candidates: Candidate[]
  chosen: Candidate | null
  download: Download | null
  /** May be ticked: it has a URL we may fetch and a folder, and is not on its way yet. */
  selectable: boolean
  selected: boolean
  /** Set where a token would help. */
  locked: Locked | null
  /** The file here that its nodes could load instead; null if none is in their folder. */
  replacement: Alternative | null
  /** `replacement` is the only one, or the user's choice. */
  certain: boolean
  /** For a missing model: files here that are it in another precision or under a similar name. */
  substitutes: Alternative[]
  relinkProblem: RelinkOutcome | null
  size: number | null
  /** Absolute path it will have on the server; null while the folder is unknown. */
  destination: string | null
}

export interface Blocked {
  kind: 'space' | 'read_only'
  path: string
  /** Bytes to come. */
  needed: number
  /** Bytes that may be used for them. */
  free: number
}

export interface Plan {
  items: DownloadItem[]
  bytes: number
  /** How many of the items have no known size. */
  unsized: number
  blocked: Blocked | null
}

export interface Overall {
  total: number
  done: number
  failed: number
  running: number
  paused: boolean
  received: number
  /** Null if the size of one is unknown. */
  size: number | null
  speed: number
  eta: number | null
}
