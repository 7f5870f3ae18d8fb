// @ts-check

/** @import { Row, RowState } from '../types/state' */
/** @import { Context } from './views/context.js' */

/** @type {ReadonlySet<RowState>} */
const TOLD = new Set(['completed', 'failed', 'not_found'])

/**
 * Tells, in a live region, what changed since the last time: the end of a search or of reading the library,
 * files that arrived or failed. Percentages are not told; a screen reader asks the progress bar for them.
 *
 * @param {HTMLElement} region
 * @returns {(context: Context, rows: Row[]) => void}
 */
export function announcer(region) {
  /** @type {Map<string, RowState> | null} */
  let before = null
  let searching = false
  /** @type {string | null} */
  let copied = null
  let hashing = false

  return ({ t, state }, rows) => {
    const news = []
    for (const row of rows) {
      const known = before?.get(row.id)
      if (known && known !== row.state && TOLD.has(row.state)) {
        news.push(t(`announce.${row.state}`, { name: row.model.name }))
      }
    }
    if (searching && !state.search.running) {
      const found = rows.filter((row) => row.candidates.length > 0).length
      news.push(t('announce.searched', { found, total: state.search.total }))
    }
    if (state.copied !== null && state.copied !== copied) news.push(t('details.copied'))
    copied = state.copied
    const isHashing = (state.library.hashing?.state ?? 'idle') !== 'idle'
    if (hashing && !isHashing) news.push(t('announce.read'))
    hashing = isHashing
    before = new Map(rows.map((row) => [row.id, row.state]))
    searching = state.search.running
    if (news.length > 0) region.textContent = news.join(' ')
  }
}
