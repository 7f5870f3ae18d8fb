// @ts-check

// For a missing model: files here that are it in another precision, or under a similar name. They are
// offered and never taken: the result of a run may differ.

import { h } from '../dom.js'
import { relinkProblemView } from './elsewhere.js'
import { button } from './parts.js'

/** @import { Alternative } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/** The server lists them best first; more would be no help. */
const SHOWN = 5
const UNSTATED = '-'

/**
 * One line in the row: that there are some.
 *
 * @param {Context} context
 * @param {Row} row
 */
export function substitutesHint({ t, store, state }, row) {
  const key = `row:${row.id}`
  if (!offered(row) || state.open.has(key)) return null
  return h(
    'button',
    {
      type: 'button',
      class: 'link hint',
      'data-testid': 'model-resolver-substitutes-hint',
      onclick: () => store.toggle(key)
    },
    t(onlyPrecision(row) ? 'substitute.hintPrecision' : 'substitute.hint')
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 */
export function substituteList(context, row) {
  if (!offered(row)) return null
  const { t } = context
  const id = `substitutes-${encodeURIComponent(row.id)}`
  return h(
    'section',
    {
      key: 'substitutes',
      class: 'substitutes',
      'aria-labelledby': id,
      'data-testid': 'model-resolver-substitutes'
    },
    h('p', { id, class: 'heading' }, t(onlyPrecision(row) ? 'substitute.precision' : 'substitute.title')),
    h(
      'ul',
      null,
      row.substitutes.slice(0, SHOWN).map((alternative) => substituteView(context, row, alternative))
    ),
    relinkProblemView(context, row)
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 * @param {Alternative} alternative
 */
function substituteView(context, row, alternative) {
  const { t, state, store, onGraph } = context
  const { path, name } = alternative
  const id = `substitute-${encodeURIComponent(path)}`
  return h(
    'li',
    { key: path, class: 'substitute', 'data-testid': 'model-resolver-substitute' },
    h(
      'div',
      { class: 'candidate-text' },
      h('span', { id, class: 'path', title: path }, name),
      h('span', { class: 'note' }, differenceText(context, alternative))
    ),
    onGraph.relink &&
      button(t('substitute.use'), () => void store.relinker.use(row, alternative), {
        testid: 'model-resolver-use-substitute',
        describedby: id,
        disabled: state.relinking
      })
  )
}

/**
 * On its way already, or without a file: only then there is something to decide.
 *
 * @param {Row} row
 */
function offered({ substitutes, state }) {
  return substitutes.length > 0 && !['queued', 'active', 'paused', 'verifying', 'completed'].includes(state)
}

/** @param {Row} row */
function onlyPrecision({ substitutes }) {
  return substitutes.every((alternative) =>
    differencesOf(alternative).every(({ attribute }) => attribute === 'precision')
  )
}

/**
 * @param {Context} context
 * @param {Alternative} alternative
 * @returns {string} e.g. `fp8_e4m3fn instead of fp16`
 */
function differenceText({ t, say }, alternative) {
  return differencesOf(alternative)
    .map(({ attribute, wanted, other }) => {
      if (attribute === 'name' || attribute === 'content') return t(`substitute.${attribute}`)
      const key = wanted === UNSTATED ? 'only' : other === UNSTATED ? 'unstated' : 'instead'
      const difference = t(`substitute.${key}`, { other, wanted })
      if (attribute === 'precision') return difference
      return t('substitute.labelled', { attribute: say('substitute.attribute', attribute), difference })
    })
    .join(' · ')
}

/**
 * What `Alternative.difference` says: `precision: fp16 / fp8; container: safetensors / gguf`, or `name`, or
 * `content`.
 *
 * @param {Alternative} alternative
 * @returns {{ attribute: string, wanted: string, other: string }[]}
 */
function differencesOf({ difference }) {
  return (difference ?? '').split('; ').map((part) => {
    const [attribute, values = ''] = part.split(': ')
    const [wanted = UNSTATED, other = UNSTATED] = values.split(' / ')
    return { attribute, wanted, other }
  })
}
