// @ts-check

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { isHarmless, relinkable } from '../rows.js'
import { fileChooser } from './file.js'
import { iconButton } from './parts.js'

/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/**
 * Title and tools, as ComfyUI's own tabs have them.
 *
 * @param {Context} context
 */
export function titleBar(context) {
  const { t, store, state } = context
  const { close } = store.host
  return h(
    'header',
    { key: 'title', class: 'title-bar' },
    h('h2', null, t('title')),
    fileChooser(context, 'icon-button', icon('openFile')),
    rescanButton(t, store, state.phase === 'scanning' || state.search.running),
    close && iconButton('close', t('header.close'), close, { testid: 'model-resolver-close' })
  )
}

/**
 * @param {Context['t']} t
 * @param {Context['store']} store
 * @param {boolean} busy
 */
function rescanButton(t, store, busy) {
  return iconButton('refresh', t('header.rescan'), () => store.rescan(), {
    testid: 'model-resolver-rescan',
    class: busy ? 'busy' : ''
  })
}

/**
 * What there is to do, in one line, and all-or-none boxes.
 *
 * @param {Context} context
 * @param {Row[]} rows
 */
export function summaryBar(context, rows) {
  const { t, store, state } = context
  const active = rows.filter((row) => row.model.active)
  const missing = active.filter((row) => !['present', 'completed', 'elsewhere'].includes(row.state)).length
  const elsewhere = active.filter((row) => row.state === 'elsewhere').length
  const choosable = active.filter(isHarmless)
  const all = choosable.length > 0 && choosable.every((row) => row.selected)
  const { search } = state
  const parts = [
    missing > 0 && t('summary.missing', { n: missing }),
    elsewhere > 0 && t('summary.elsewhere', { n: elsewhere })
  ]
  return h(
    'div',
    { key: 'summary', class: 'summary' },
    h(
      'div',
      { class: 'summary-text' },
      h(
        'span',
        { 'data-testid': 'model-resolver-badge', 'data-count': String(missing + elsewhere) },
        parts.filter(Boolean).join(' · ')
      ),
      search.running &&
        h(
          'span',
          { class: 'note', 'data-testid': 'model-resolver-searching' },
          t('summary.searching', { found: search.found, total: search.total })
        )
    ),
    choosable.length > 1 &&
      h(
        'button',
        {
          type: 'button',
          class: 'link',
          'data-testid': 'model-resolver-select-all',
          onclick: () => store.pickAll(!all)
        },
        t(all ? 'summary.selectNone' : 'summary.selectAll')
      ),
    relinkAll(context, rows),
    store.host.kind === 'standalone' && rescanButton(t, store, search.running)
  )
}

/**
 * All that is here under another name at once, where there is no question which file is meant.
 *
 * @param {Context} context
 * @param {Row[]} rows
 */
function relinkAll({ store, t, onGraph }, rows) {
  const sure = relinkable(rows)
  if (!onGraph.relink || sure.length < 2) return null
  return h(
    'button',
    {
      type: 'button',
      class: 'link',
      title: t('summary.relinkWhy'),
      disabled: store.state.relinking,
      'data-testid': 'model-resolver-relink-all',
      onclick: () => store.relinker.run(sure)
    },
    t('summary.relink', { n: sure.length })
  )
}
