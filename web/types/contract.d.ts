// The JSON of the HTTP contract, as resolver/schemas.py states it.

export type Confidence = 'exact' | 'probable' | 'possible'
export type Evidence =
  'sha256' | 'embedded_url' | 'note_link' | 'catalog' | 'exact_name' | 'similar_name' | 'size'
export type DownloadStatus =
  'queued' | 'active' | 'paused' | 'verifying' | 'completed' | 'failed' | 'cancelled'

export interface Reference {
  node_id: string
  node_type: string
  input: string
  value: string
  active: boolean
}

export interface Alternative {
  path: string
  folder: string
  name: string
  same_content: boolean | null
  score: number
  difference: string | null
}

export interface Model {
  id: string
  folder: string | null
  name: string
  status: 'present' | 'elsewhere' | 'missing'
  active: boolean
  path: string | null
  size: number | null
  sha256: string | null
  url: string | null
  references: Reference[]
  alternatives: Alternative[]
}

export interface Notice {
  code: string
  message: string
  node_id: string | null
}

export interface Analysis {
  format: 'ui' | 'api'
  models: Model[]
  summary: { total: number; present: number; missing: number; elsewhere: number; unknown: number }
  warnings: Notice[]
}

export interface Candidate {
  source: string
  url: string
  page_url: string | null
  filename: string
  size: number | null
  sha256: string | null
  confidence: Confidence
  evidence: Evidence[]
  mirrors: string[]
  gated: boolean
  needs: string | null
  safety: string | null
  publisher: string | null
  licence: string | null
}

export interface SourceError {
  source: string
  code: string
  message: string
}

export interface Resolution {
  id: string
  state: 'resolved' | 'ambiguous' | 'not_found'
  candidates: Candidate[]
  errors: SourceError[]
}

export interface WantedModel {
  folder: string
  name: string
  url?: string | null
  sha256?: string | null
  size?: number | null
}

export interface ResolveRequest {
  workflow?: object
  models?: WantedModel[]
}

export interface DownloadItem {
  folder: string
  filename: string
  url: string
  mirrors?: string[]
  sha256?: string | null
  size?: number | null
}

export interface Download {
  id: string
  folder: string
  filename: string
  url: string
  status: DownloadStatus
  size: number | null
  received: number
  speed: number
  eta: number | null
  /** How many are open for it now. */
  connections: number
  sha256: string | null
  verified: boolean
  error: { code: string; message: string } | null
  path: string | null
  created_at: number
}

export interface Folder {
  name: string
  roots: { path: string; writable: boolean; free_bytes: number | null; default: boolean }[]
  extensions: string[]
  default_root: string | null
}

export type Provider = 'huggingface' | 'civitai'

/** Whether a token is set, never which. `settings`: those of the server, which only its owner can change. */
export interface Credential {
  provider: Provider
  set: boolean
  origin: 'stored' | 'settings' | null
}

export interface CredentialCheck {
  provider: Provider
  set: boolean
  /** Whose token it is. */
  account: string | null
  scopes: string[]
  /** What is missing; null if nothing is. */
  code: string | null
  message: string | null
  page_url: string | null
}

export interface Hashing {
  state: 'idle' | 'running' | 'waiting' | 'paused'
  folder: string | null
  done: number
  total: number
  bytes_done: number
  bytes_total: number
  failed: number
  /** In all folders. */
  unhashed_files: number
  unhashed_bytes: number
}

export interface LibraryFile {
  folder: string
  name: string
  path: string
  size: number
  /** Null while the content is not known. */
  sha256: string | null
}

/** One content that takes space `copies` times; `wasted`: bytes beyond the first. `files`: every name of it. */
export interface DuplicateGroup {
  sha256: string
  size: number
  copies: number
  wasted: number
  files: LibraryFile[]
}

export interface Duplicates {
  groups: DuplicateGroup[]
  wasted: number
  unhashed: number
}
