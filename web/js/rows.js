// @ts-check

// From the store's state to what one row of the list shows. Pure functions.

import { providerOf } from './links.js'

/** @import { Alternative, Analysis, Candidate, Download, Model } from '../types/contract' */
/** @import { Choice, Locked, Row, RowState, State } from '../types/state' */

/** @type {ReadonlySet<string>} */
const RUNNING = new Set(['queued', 'active', 'paused', 'verifying'])

/** What candidates need that a token may give. */
const RESTRICTED = new Set(['licence', 'token', 'early_access'])
/** How downloads fail that a token may help. */
const DENIED = new Set(['GATED', 'UNAUTHORIZED', 'TOKEN_REJECTED', 'NOT_FOUND_OR_PRIVATE'])

/** @param {Download} download */
export function isRunning(download) {
  return RUNNING.has(download.status)
}

/**
 * A search's result stays good as long as the workflow says the same about the model.
 *
 * @param {Model} model
 */
export function modelKey(model) {
  return [model.id, model.url ?? '', model.sha256 ?? ''].join('\n')
}

/**
 * Models that keep a workflow from running; of the open one, what the badge counts.
 *
 * @param {Analysis | null} analysis
 * @returns {Model[]}
 */
export function neededModels(analysis) {
  return (analysis?.models ?? []).filter((model) => model.active && model.status !== 'present')
}

/**
 * Rows in the order of the analysis.
 *
 * @param {State} state
 * @returns {Row[]}
 */
export function rowsOf(state) {
  const latest = latestDownloads(state)
  return (state.analysis?.models ?? []).map((model) => rowOf(state, model, latest))
}

/**
 * The rows of `next`, but the very objects of `before` where nothing has changed: those need no new view.
 *
 * @param {Row[]} before
 * @param {Row[]} next
 * @returns {Row[]}
 */
export function keepUnchanged(before, next) {
  const known = new Map(before.map((row) => [row.id, row]))
  return next.map((row) => {
    const old = known.get(row.id)
    return old && isSame(old, row) ? old : row
  })
}

/**
 * @param {Row} left
 * @param {Row} right
 */
function isSame(left, right) {
  const names = /** @type {(keyof Row)[]} */ (Object.keys(left))
  return names.every(
    (name) =>
      left[name] === right[name] ||
      (isList(name) && sameItems(left[name], right[name])) ||
      (name === 'locked' && left.locked?.url === right.locked?.url)
  )
}

/**
 * @param {keyof Row} name
 * @returns {name is 'candidates' | 'substitutes'}
 */
function isList(name) {
  return name === 'candidates' || name === 'substitutes'
}

/**
 * @param {unknown[]} left
 * @param {unknown[]} right
 */
function sameItems(left, right) {
  return left.length === right.length && left.every((item, index) => item === right[index])
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {Map<string, Download>} latest
 * @returns {Row}
 */
function rowOf(state, model, latest) {
  /** @type {Choice} */
  const choice = state.choices.get(model.id) ?? {}
  const folder = model.folder ?? choice.folder ?? null
  const resolution =
    state.resolutions.get(modelKey(model)) ??
    // A model whose folder the user told is searched, and answered, under its new id.
    state.resolutions.get(`${folder}/${model.name}`) ??
    null
  const found = resolution?.candidates ?? []
  const candidates = choice.own ? [choice.own, ...found] : found
  const chosen = candidates.find((candidate) => candidate.url === choice.url) ?? candidates[0] ?? null
  const download = relevant(state, model, latest.get(`${folder}/${model.name}`) ?? null)
  const rowState = stateOf(state, model, resolution, candidates, download)
  const selectable =
    chosen !== null &&
    // Early access may have been paid for, which only a download shows.
    (chosen.needs === null || chosen.needs === 'early_access') &&
    folder !== null &&
    (rowState === 'resolved' || rowState === 'ambiguous')
  return {
    id: model.id,
    model,
    folder,
    state: rowState,
    resolution,
    candidates,
    chosen,
    download,
    selectable,
    ...replacementOf(state, model, folder, rowState),
    substitutes: substitutes(model, folder),
    relinkProblem: state.relinkProblems.get(model.id) ?? null,
    selected: selectable && isPicked(model, chosen, choice),
    locked: lockedFile(candidates, chosen, download),
    size: chosen?.size ?? download?.size ?? model.size,
    destination: destinationOf(state, folder, model.name)
  }
}

/**
 * The very file in other places, as far as anybody knows.
 *
 * @param {Model} model
 * @returns {Alternative[]} best first
 */
export function otherPlaces(model) {
  return model.alternatives.filter(({ difference }) => difference === null)
}

/**
 * Those of them that the nodes of the model could load: a node reads from its own folder only.
 *
 * @param {Model} model
 * @param {string | null} folder of the row
 * @returns {Alternative[]} best first
 */
export function replacements(model, folder) {
  return otherPlaces(model).filter((alternative) => alternative.folder === folder)
}

/**
 * Files that are only akin to a missing one: never to be used without the user's word.
 *
 * @param {Model} model
 * @param {string | null} folder of the row
 * @returns {Alternative[]} best first
 */
function substitutes(model, folder) {
  if (model.status !== 'missing') return []
  return model.alternatives.filter(
    (alternative) => alternative.difference !== null && alternative.folder === folder
  )
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {string | null} folder
 * @param {RowState} rowState
 * @returns {Pick<Row, 'replacement' | 'certain'>}
 */
function replacementOf(state, model, folder, rowState) {
  if (rowState !== 'elsewhere') return { replacement: null, certain: false }
  const usable = replacements(model, folder)
  const told = state.choices.get(model.id)?.alternative
  const chosen = usable.find(({ path }) => path === told)
  const best = usable[0] ?? null
  return {
    replacement: chosen ?? best,
    // The very same path, only spelled otherwise, is no question either.
    certain: chosen !== undefined || usable.length === 1 || best?.name === model.name
  }
}

/**
 * What can be relinked without a question; the nodes of models that no run needs, too.
 *
 * @param {Row[]} rows
 */
export function relinkable(rows) {
  return rows.filter((row) => row.replacement && row.certain)
}

/**
 * Without a word of the user: active models, found with good reason, that need no act of the user.
 *
 * @param {Model} model
 * @param {Candidate} candidate
 * @param {Choice} choice
 */
function isPicked(model, candidate, choice) {
  // What scanners warn of is taken only if it was itself ticked, not what was in its place before.
  if (candidate.safety === 'danger') return choice.picked === true && choice.url === candidate.url
  return choice.picked ?? (model.active && candidate.confidence !== 'possible' && !candidate.needs)
}

/**
 * Whether a row may be ticked together with others: nothing speaks against its file.
 *
 * @param {Row} row
 */
export function isHarmless({ selectable, chosen }) {
  return selectable && !chosen?.needs && chosen?.safety !== 'danger'
}

/**
 * Whether only some accounts may have a file.
 *
 * @param {Candidate} candidate
 */
function isRestricted({ needs }) {
  return needs !== null && RESTRICTED.has(needs)
}

/**
 * @param {Candidate[]} candidates
 * @param {Candidate | null} chosen
 * @param {Download | null} download
 * @returns {Locked | null}
 */
function lockedFile(candidates, chosen, download) {
  const denied = download?.status === 'failed' && DENIED.has(download.error?.code ?? '')
  const url = denied ? download.url : !download && chosen && isRestricted(chosen) ? chosen.url : null
  const provider = url && providerOf(candidates.find((candidate) => candidate.url === url) ?? { url })
  return url && provider ? { provider, url } : null
}

/**
 * @param {State} state
 * @param {Model} model
 * @param {Row['resolution']} resolution
 * @param {Candidate[]} candidates
 * @param {Download | null} download
 * @returns {RowState}
 */
function stateOf(state, model, resolution, candidates, download) {
  if (download && download.status !== 'cancelled') return download.status
  if (model.status !== 'missing') return model.status
  if (candidates.length > 0) return resolution?.state === 'ambiguous' ? 'ambiguous' : 'resolved'
  if (resolution) return 'not_found'
  return state.search.running ? 'searching' : 'unsearched'
}

/**
 * The download that tells the row's state, if one does: a finished one only until a scan has looked anew.
 *
 * @param {State} state
 * @param {Model} model
 * @param {Download | null} download
 * @returns {Download | null}
 */
function relevant(state, model, download) {
  if (!download || isRunning(download)) return download
  const completedAt = state.completedAt.get(download.id) ?? 0
  switch (download.status) {
    case 'completed':
      // Completed in this session stays shown as such; one of the history only if the file is still there.
      return completedAt && (model.status === 'present' || completedAt > state.scannedAt) ? download : null
    case 'failed':
      return model.status === 'missing' ? download : null
    default:
      return null
  }
}

/**
 * The newest download of each file, by `folder/filename`.
 *
 * @param {State} state
 * @returns {Map<string, Download>}
 */
function latestDownloads(state) {
  /** @type {Map<string, Download>} */
  const latest = new Map()
  for (const download of state.downloads.values()) {
    const id = `${download.folder}/${download.filename}`
    const other = latest.get(id)
    if (!other || other.created_at <= download.created_at) latest.set(id, download)
  }
  return latest
}

/**
 * Downloads of other workflows, or started elsewhere, that are still going on.
 *
 * @param {State} state
 * @param {Row[]} rows
 * @returns {Download[]}
 */
export function otherDownloads(state, rows) {
  const shown = new Set(rows.map((row) => row.download?.id))
  return [...state.downloads.values()].filter((download) => isRunning(download) && !shown.has(download.id))
}

/**
 * @param {State} state
 * @param {string | null} folder
 */
export function folderOf(state, folder) {
  return state.folders.find((candidate) => candidate.name === folder) ?? null
}

/**
 * The root new files of a folder go to.
 *
 * @param {State} state
 * @param {string | null} folder
 */
export function defaultRootOf(state, folder) {
  const found = folderOf(state, folder)
  if (!found) return null
  return found.roots.find((root) => root.path === found.default_root) ?? null
}

/**
 * @param {State} state
 * @param {string | null} folder
 * @param {string} name
 * @returns {string | null}
 */
function destinationOf(state, folder, name) {
  const root = folderOf(state, folder)?.default_root
  if (!root) return null
  // The server's own separator: a path is there to be copied.
  const separator = root.includes('\\') && !root.includes('/') ? '\\' : '/'
  return [root.replace(/[\\/]$/, ''), ...name.split('/')].join(separator)
}
