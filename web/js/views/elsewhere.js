// @ts-check

// A model that is on the server, but not where the workflow says.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { otherPlaces, replacements } from '../rows.js'
import { button } from './parts.js'

/** @import { Alternative } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/**
 * @param {Context} context
 * @param {Row} row
 */
export function elsewhereView(context, row) {
  const { store, state, t, onGraph } = context
  const { replacement, model } = row
  const found = replacement ? replacements(model, row.folder) : otherPlaces(model)
  const shown = replacement ?? found[0]
  const others = found.length - 1
  const respelled = replacement !== null && replacement.name === model.name
  const renamed = shown?.same_content === true && baseName(shown.name) !== baseName(model.name)
  const path = shown ? `${shown.folder}/${shown.name}` : model.path
  const id = `elsewhere-${encodeURIComponent(row.id)}`
  return [
    h('p', { class: 'note' }, t(`row.${respelled ? 'respelled' : renamed ? 'renamed' : 'elsewhere'}`)),
    path &&
      h(
        'p',
        { id, class: 'path', title: shown?.path ?? path, 'data-testid': 'model-resolver-elsewhere' },
        path
      ),
    !replacement && others > 0 && h('p', { class: 'note' }, t('row.elsewhereMore', { n: others })),
    !replacement &&
      row.folder !== null &&
      h(
        'p',
        { class: 'note', 'data-testid': 'model-resolver-other-folder' },
        t('row.otherFolder', { folder: row.folder })
      ),
    replacement && !row.certain && h('p', { class: 'note warn' }, t('row.ambiguous')),
    relinkProblemView(context, row),
    replacement &&
      onGraph.relink &&
      h(
        'div',
        { class: 'meta' },
        button(t('row.useIt'), () => void store.relinker.run([row]), {
          testid: 'model-resolver-relink',
          describedby: id,
          disabled: state.relinking
        }),
        others > 0 &&
          h(
            'button',
            {
              type: 'button',
              class: 'more',
              title: t('row.otherFiles', { n: others }),
              'aria-label': t('row.otherFiles', { n: others }),
              'data-testid': 'model-resolver-more',
              onclick: () => store.toggle(`row:${row.id}`)
            },
            `+${others}`
          )
      )
  ]
}

/**
 * Why nodes could not be set to a file that is here.
 *
 * @param {Context} context
 * @param {Row} row
 */
export function relinkProblemView({ t }, { relinkProblem }) {
  if (!relinkProblem) return null
  return h(
    'p',
    {
      class: 'note warn',
      role: 'alert',
      'data-testid': 'model-resolver-relink-problem',
      'data-code': relinkProblem
    },
    icon('alert', 'small'),
    ' ',
    t(`relink.${relinkProblem}`)
  )
}

/** @param {string} name */
function baseName(name) {
  return name.split('/').at(-1)
}

/**
 * The files to choose from, if there are several.
 *
 * @param {Context} context
 * @param {Row} row
 */
export function alternativeList(context, row) {
  const usable = row.replacement && context.onGraph.relink ? replacements(row.model, row.folder) : []
  if (usable.length < 2) return null
  return h(
    'fieldset',
    { class: 'candidates', 'data-testid': 'model-resolver-alternatives' },
    h('legend', null, context.t('details.alternatives')),
    usable.map((alternative) => alternativeChoice(context, row, alternative))
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 * @param {Alternative} alternative
 */
function alternativeChoice({ store, t }, row, alternative) {
  const { path, name, same_content } = alternative
  return h(
    'label',
    { key: path, class: 'candidate', 'data-testid': 'model-resolver-alternative' },
    h('input', {
      type: 'radio',
      class: 'radio',
      name: `alternative:${row.id}`,
      checked: alternative === row.replacement,
      onchange: () => store.choose(row.id, { alternative: path })
    }),
    h(
      'span',
      { class: 'candidate-text' },
      h('span', { class: 'path', title: path }, name),
      same_content === true && h('span', { class: 'note' }, t('evidence.sha256'))
    )
  )
}
