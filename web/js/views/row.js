// @ts-check

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { isRunning } from '../rows.js'
import { needsView } from './access.js'
import { detailsView } from './details.js'
import { downloadActions, downloadLine } from './download.js'
import { elsewhereView } from './elsewhere.js'
import { button, confidenceBadge, evidenceText, iconButton, longName, originLink } from './parts.js'
import { failureView, folderChooser, notFoundView } from './remedies.js'
import { substitutesHint } from './substitutes.js'

/** @import { Candidate } from '../../types/contract' */
/** @import { Row, RowState } from '../../types/state' */
/** @import { Child, VElement } from '../dom.js' */
/** @import { IconName } from '../icons.js' */
/** @import { Context } from './context.js' */

/** @type {Partial<Record<RowState, IconName>>} */
const ICONS = {
  present: 'check',
  completed: 'check',
  elsewhere: 'moved',
  not_found: 'question',
  queued: 'clock',
  paused: 'pause',
  active: 'download',
  verifying: 'download',
  failed: 'alert'
}

/** @type {WeakMap<Row, { depends: unknown[], view: VElement }>} */
const drawn = new WeakMap()

/**
 * One model. Drawn anew only if something it shows has changed: there may be hundreds of rows, and the
 * page is redrawn several times a second while files arrive.
 *
 * @param {Context} context
 * @param {Row} row
 */
export function rowView(context, row) {
  const { open, folders, relinking, credentials, checks, copied } = context.state
  const { locked, chosen } = row
  const file = locked?.url ?? chosen?.url ?? ''
  const depends = [
    open.has(keyOf(row)),
    open.has(keyOf(row)) && copied,
    folders,
    relinking,
    context.locale,
    credentials,
    checks.get(file),
    open.has(`token:${file}`)
  ]
  const known = drawn.get(row)
  if (known && known.depends.every((value, index) => value === depends[index])) return known.view
  const view = draw(context, row)
  drawn.set(row, { depends, view })
  return view
}

/** @param {Row} row */
function keyOf(row) {
  return `row:${row.id}`
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function draw(context, row) {
  const { store, state } = context
  const key = keyOf(row)
  const open = state.open.has(key)
  return h(
    'li',
    {
      key,
      class: `row ${row.model.active ? '' : 'inactive'}`,
      'data-testid': 'model-resolver-row',
      'data-model-id': row.id,
      'data-state': row.state,
      'data-confidence': row.chosen?.confidence,
      'data-selected': row.selected ? 'true' : 'false',
      'data-active': row.model.active ? 'true' : 'false',
      'data-gated': row.chosen?.gated ? 'true' : 'false'
    },
    h(
      'div',
      { class: 'row-head' },
      lead(context, row),
      h(
        'button',
        {
          type: 'button',
          class: 'row-name',
          'aria-expanded': open ? 'true' : 'false',
          'data-testid': 'model-resolver-toggle',
          onclick: () => store.toggle(key)
        },
        longName(row.model.name),
        icon('chevron', `fold ${open ? 'open' : ''}`)
      ),
      row.download && isRunning(row.download) && downloadActions(context, row.download),
      locateButton(context, row)
    ),
    h('div', { class: 'row-body' }, body(context, row), substitutesHint(context, row)),
    open && detailsView(context, row)
  )
}

/**
 * The box to tick, or what goes on instead.
 *
 * @param {Context} context
 * @param {Row} row
 */
function lead({ store, t }, row) {
  if (row.selectable) {
    return h('input', {
      type: 'checkbox',
      class: 'check',
      checked: row.selected,
      'aria-label': t('row.select', { name: row.model.name }),
      'data-testid': 'model-resolver-select',
      onchange: () => store.pick(row)
    })
  }
  const name = row.folder === null ? 'folder' : row.chosen?.needs ? 'lock' : ICONS[row.state]
  if (name) return icon(name, `lead ${row.state}`)
  if (row.state === 'searching') return h('span', { class: 'lead spinner', 'aria-hidden': 'true' })
  return icon('search', 'lead idle')
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function sizeView({ t, bytes }, { size }) {
  return h(
    'span',
    {
      class: 'size',
      title: size === null ? t('details.sizeUnknown') : null,
      'data-testid': 'model-resolver-size'
    },
    size === null ? '?' : bytes(size)
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function locateButton({ onGraph, t }, row) {
  const { locate } = onGraph
  const node = row.model.references[0]?.node_id
  if (!locate || node === undefined || (row.download && isRunning(row.download))) return null
  return iconButton('locate', t('row.locate'), () => locate(node), {
    testid: 'model-resolver-locate',
    class: 'quiet over'
  })
}

/**
 * What the state of the row has to say.
 *
 * @param {Context} context
 * @param {Row} row
 * @returns {Child}
 */
function body(context, row) {
  const { t } = context
  const note = (/** @type {string} */ text) => h('p', { class: 'note' }, text)
  const withSize = (/** @type {string} */ text) =>
    h(
      'div',
      { class: 'meta' },
      h('p', { class: 'note grow' }, text),
      row.size !== null && sizeView(context, row)
    )
  switch (row.state) {
    case 'present':
      return withSize(t('row.present'))
    case 'completed':
      return withSize(t(row.download?.verified ? 'row.completedVerified' : 'row.completed'))
    case 'elsewhere':
      return elsewhereView(context, row)
    case 'searching':
      return note(t('row.searching'))
    case 'unsearched':
      return unsearched(context, row)
    case 'not_found':
      return notFoundView(context, row)
    case 'failed':
      return failureView(context, row)
    case 'resolved':
    case 'ambiguous':
      return found(context, row)
    default:
      return row.download && downloadLine(context, row.download)
  }
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function unsearched(context, row) {
  const { t, store } = context
  const { folder, model } = row
  return [
    model.folder === null && folderChooser(context, row),
    h(
      'div',
      { class: 'meta' },
      h('p', { class: 'note grow' }, t(model.active ? 'row.unsearched' : 'row.unused')),
      folder !== null &&
        button(t('row.search'), () => store.searchOne(model, folder), { testid: 'model-resolver-search-one' })
    )
  ]
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function found(context, row) {
  const { t, store, state } = context
  const { chosen } = row
  if (!chosen) return null
  const others = row.candidates.length - 1
  const evidence = evidenceText(context, chosen)
  return [
    h(
      'div',
      { class: 'meta' },
      confidenceBadge(context, chosen),
      h('span', { class: 'origin' }, originLink(context, chosen)),
      others > 0 &&
        h(
          'button',
          {
            type: 'button',
            class: 'more',
            title: t('row.others', { n: others }),
            'aria-label': t('row.others', { n: others }),
            'data-testid': 'model-resolver-more',
            onclick: () => store.toggle(keyOf(row))
          },
          `+${others}`
        ),
      sizeView(context, row)
    ),
    evidence && h('p', { class: 'note', 'data-testid': 'model-resolver-evidence' }, evidence),
    row.state === 'ambiguous' && others > 0 && h('p', { class: 'note warn' }, t('row.ambiguous')),
    row.model.folder === null && folderChooser(context, row),
    (chosen.needs || chosen.gated || state.opened.has(chosen.url)) && needsView(context, row, chosen),
    safetyView(context, chosen)
  ]
}

/**
 * What scanners say against a file; that they found nothing is told in the details.
 *
 * @param {Context} context
 * @param {Candidate} candidate
 */
function safetyView({ say }, { safety }) {
  if (!safety || safety === 'scanned') return null
  const text = say('safety', safety)
  const props = { 'data-testid': 'model-resolver-safety', 'data-safety': safety }
  if (safety !== 'danger') return h('p', { class: 'note', ...props }, text)
  return h('div', { class: 'callout error', role: 'note', ...props }, icon('alert'), h('div', null, text))
}
