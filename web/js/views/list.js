// @ts-check

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { defaultRootOf, otherDownloads } from '../rows.js'
import { downloadActions, downloadLine } from './download.js'
import { longName } from './parts.js'
import { rowView } from './row.js'

/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/** The order in which ComfyUI's users think of folders; the rest follows by name. */
const FIRST = ['checkpoints', 'diffusion_models', 'text_encoders', 'vae', 'loras']

/**
 * All models, by folder; what needs nothing done is folded away below.
 *
 * @param {Context} context
 * @param {Row[]} rows
 */
export function listView(context, rows) {
  const { t } = context
  const active = rows.filter((row) => row.model.active && row.state !== 'present')
  const inactive = rows.filter((row) => !row.model.active && row.state !== 'present')
  const present = rows.filter((row) => row.state === 'present')
  return [
    groups(active).map(([folder, members]) => groupView(context, folder, members)),
    othersView(context, rows),
    fold(context, 'inactive', t('group.inactive', { n: inactive.length }), inactive),
    fold(context, 'present', t('group.present', { n: present.length }), present)
  ]
}

/**
 * @param {Row[]} rows
 * @returns {[string | null, Row[]][]}
 */
function groups(rows) {
  /** @type {Map<string | null, Row[]>} */
  const byFolder = new Map()
  for (const row of rows) byFolder.set(row.folder, [...(byFolder.get(row.folder) ?? []), row])
  return [...byFolder].sort(
    ([left], [right]) => rank(left) - rank(right) || (left ?? '').localeCompare(right ?? '')
  )
}

/** @param {string | null} folder */
function rank(folder) {
  if (folder === null) return FIRST.length + 1
  const index = FIRST.indexOf(folder)
  return index < 0 ? FIRST.length : index
}

/**
 * @param {Context} context
 * @param {string | null} folder
 * @param {Row[]} rows
 */
function groupView(context, folder, rows) {
  const { state, t, bytes } = context
  const root = defaultRootOf(state, folder)
  const free = root?.free_bytes
  const id = `group-${folder ?? '?'}`
  return h(
    'section',
    {
      key: id,
      class: 'group',
      'aria-labelledby': id,
      'data-testid': 'model-resolver-group',
      'data-folder': folder ?? '?'
    },
    h(
      'div',
      { class: 'group-head' },
      h('h3', { id }, icon('folder', 'small'), folder ?? t('group.unknown')),
      free !== null &&
        free !== undefined &&
        h('span', { class: 'free' }, t('group.free', { size: bytes(free) }))
    ),
    root && h('p', { class: 'group-path', title: root.path }, h('bdi', null, root.path)),
    h(
      'ul',
      { class: 'rows' },
      rows.map((row) => rowView(context, row))
    )
  )
}

/**
 * @param {Context} context
 * @param {string} name
 * @param {string} title
 * @param {Row[]} rows
 */
function fold({ store, state, ...rest }, name, title, rows) {
  if (rows.length === 0) return null
  const key = `section:${name}`
  const open = state.open.has(key)
  return h(
    'section',
    { key, class: 'folded', 'data-testid': `model-resolver-${name}` },
    h(
      'button',
      {
        type: 'button',
        class: 'fold-head',
        'aria-expanded': open ? 'true' : 'false',
        onclick: () => store.toggle(key)
      },
      icon('chevron', `fold ${open ? 'open' : ''}`),
      title
    ),
    open &&
      h(
        'ul',
        { class: 'rows' },
        rows.map((row) => rowView({ store, state, ...rest }, row))
      )
  )
}

/**
 * @param {Context} context
 * @param {Row[]} rows
 */
export function othersView(context, rows) {
  const others = otherDownloads(context.state, rows)
  if (others.length === 0) return null
  return h(
    'section',
    {
      key: 'others',
      class: 'group',
      'aria-labelledby': 'group-others',
      'data-testid': 'model-resolver-others'
    },
    h(
      'div',
      { class: 'group-head' },
      h('h3', { id: 'group-others' }, icon('download', 'small'), context.t('group.others'))
    ),
    h(
      'ul',
      { class: 'rows' },
      others.map((download) =>
        h(
          'li',
          {
            key: download.id,
            class: 'row',
            'data-testid': 'model-resolver-download',
            'data-state': download.status
          },
          h(
            'div',
            { class: 'row-head' },
            icon('download', `lead ${download.status}`),
            h('span', { class: 'row-name' }, longName(download.filename)),
            downloadActions(context, download)
          ),
          h('div', { class: 'row-body' }, downloadLine(context, download))
        )
      )
    )
  )
}
