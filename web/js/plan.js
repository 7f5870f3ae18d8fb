// @ts-check

// What the main button would do, and how what is under way gets on. Pure functions.

import { defaultRootOf, isRunning } from './rows.js'

/** @import { Download } from '../types/contract' */
/** @import { Blocked, Overall, Plan, Row, State } from '../types/state' */

/** Free bytes of two roots on one disk, read one after the other, may differ by what was written between. */
const SAME_DISK = 64 * 1024 * 1024

/**
 * @param {State} state
 * @param {Row[]} rows
 * @returns {Plan}
 */
export function planOf(state, rows) {
  const selected = rows.filter((row) => row.selected)
  /** @type {Plan} */
  const plan = { items: [], bytes: 0, unsized: 0, blocked: null }
  for (const row of selected) {
    const candidate = row.chosen
    if (!candidate || row.folder === null) continue
    plan.items.push({
      folder: row.folder,
      // The name the workflow uses: under any other, ComfyUI would not find the file.
      filename: row.model.name,
      url: candidate.url,
      mirrors: candidate.mirrors,
      sha256: candidate.sha256 ?? row.model.sha256,
      size: candidate.size
    })
    if (candidate.size === null) plan.unsized += 1
    else plan.bytes += candidate.size
  }
  plan.blocked = blockedBy(state, selected)
  return plan
}

/**
 * @param {State} state
 * @param {Row[]} selected
 * @returns {Blocked | null}
 */
function blockedBy(state, selected) {
  /** @type {{ path: string, free: number, needed: number }[]} */
  const disks = []
  /** @param {string | null} folder @param {number} bytes */
  const claim = (folder, bytes) => {
    const root = defaultRootOf(state, folder)
    if (!root || root.free_bytes === null) return
    const free = Math.max(0, root.free_bytes - state.diskReserve)
    const disk = disks.find((other) => Math.abs(other.free - free) < SAME_DISK)
    if (disk) disk.needed += bytes
    else disks.push({ path: root.path, free, needed: bytes })
  }

  for (const row of selected) {
    const root = defaultRootOf(state, row.folder)
    if (root && !root.writable) return { kind: 'read_only', path: root.path, needed: 0, free: 0 }
    claim(row.folder, row.size ?? 0)
  }
  for (const download of state.downloads.values()) {
    if (isRunning(download)) claim(download.folder, Math.max(0, (download.size ?? 0) - download.received))
  }
  const full = selected.length > 0 ? disks.find((disk) => disk.needed > disk.free) : undefined
  return full ? { kind: 'space', ...full } : null
}

/**
 * The downloads of the current batch together; null while nothing runs.
 *
 * @param {State} state
 * @returns {Overall | null}
 */
export function overallOf(state) {
  /** @type {Download[]} */
  const batch = [...state.batch].flatMap((id) => state.downloads.get(id) ?? [])
  const running = batch.filter(isRunning)
  if (running.length === 0) return null
  const counted = batch.filter((download) => download.status !== 'cancelled' && download.status !== 'failed')
  const sized = counted.every((download) => download.size !== null)
  const size = sized ? sum(counted, (download) => download.size ?? 0) : null
  const received = sum(counted, (download) =>
    download.status === 'completed' ? (download.size ?? download.received) : download.received
  )
  const speed = sum(running, (download) => (download.status === 'active' ? download.speed : 0))
  return {
    total: batch.filter((download) => download.status !== 'cancelled').length,
    done: batch.filter((download) => download.status === 'completed').length,
    failed: batch.filter((download) => download.status === 'failed').length,
    running: running.length,
    paused: running.every((download) => download.status === 'paused'),
    received,
    size,
    speed,
    eta: size !== null && speed > 0 ? Math.max(0, size - received) / speed : null
  }
}

/**
 * @template T
 * @param {T[]} items
 * @param {(item: T) => number} value
 */
function sum(items, value) {
  return items.reduce((total, item) => total + value(item), 0)
}
