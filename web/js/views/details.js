// @ts-check

import { h } from '../dom.js'
import { fileNameOf } from '../links.js'
import { alternativeList } from './elsewhere.js'
import { isOffline, isSourceFailure } from './notices.js'
import { confidenceBadge, copyable, evidenceText, originLink } from './parts.js'
import { sourceErrors, urlForm } from './remedies.js'
import { substituteList } from './substitutes.js'

/** @import { Candidate, Reference } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Child } from '../dom.js' */
/** @import { Context } from './context.js' */

/**
 * What is behind a row: its candidates, where the file goes, who wants it.
 *
 * @param {Context} context
 * @param {Row} row
 */
export function detailsView(context, row) {
  const { t, say } = context
  const { chosen } = row
  const place = row.model.path ?? row.download?.path ?? row.replacement?.path ?? row.destination
  const mayChoose = ['resolved', 'ambiguous', 'failed'].includes(row.state)
  return h(
    'div',
    { class: 'details', 'data-testid': 'model-resolver-details' },
    mayChoose && row.candidates.length > 1 && candidateList(context, row),
    alternativeList(context, row),
    substituteList(context, row),
    h(
      'dl',
      null,
      item(t('details.name'), copyable(context, row.model.name)),
      item(
        t('details.evidence'),
        chosen && row.candidates.length === 1 && evidenceText(context, chosen, true)
      ),
      item(t('details.scan'), chosen?.safety && say('safety', chosen.safety)),
      item(t('details.licence'), chosen?.licence),
      item(t('details.destination'), place && copyable(context, place)),
      item(
        t('details.offeredAs'),
        chosen && differs(chosen, row) && h('span', { class: 'path' }, chosen.filename)
      ),
      item(t('details.url'), chosen && copyable(context, chosen.url, 'one-line')),
      item('SHA-256', chosen?.sha256 && copyable(context, chosen.sha256, 'one-line')),
      item(
        t('details.nodes'),
        row.model.references.map((reference) => nodeButton(context, reference))
      )
    ),
    sourceErrors(
      context,
      row,
      'note',
      (error) => !isOffline(error) && (row.state !== 'not_found' || isSourceFailure(error))
    ),
    mayChoose && urlForm(context, row)
  )
}

/**
 * @param {string} term
 * @param {Child} value left out if there is none
 */
function item(term, value) {
  if (!value || (Array.isArray(value) && value.length === 0)) return null
  return h('div', { key: term }, h('dt', null, term), h('dd', null, value))
}

/**
 * @param {Candidate} candidate
 * @param {Row} row
 */
function differs(candidate, row) {
  const name = candidate.filename || fileNameOf(candidate.url)
  return name !== '' && name.split('/').pop() !== row.model.name.split('/').pop()
}

/**
 * @param {Context} context
 * @param {Row} row
 */
function candidateList(context, row) {
  const { t, store, bytes } = context
  return h(
    'fieldset',
    { class: 'candidates', 'data-testid': 'model-resolver-candidates' },
    h('legend', null, t('details.candidates')),
    row.candidates.map((candidate) =>
      h(
        'label',
        { key: candidate.url, class: 'candidate', 'data-testid': 'model-resolver-candidate' },
        h('input', {
          type: 'radio',
          class: 'radio',
          name: `candidate:${row.id}`,
          checked: candidate === row.chosen,
          onchange: () => store.chooseCandidate(row, candidate.url)
        }),
        h(
          'span',
          { class: 'candidate-text' },
          h('span', { class: 'origin' }, originLink(context, candidate)),
          h(
            'span',
            { class: 'meta' },
            confidenceBadge(context, candidate),
            h('span', null, candidate.size === null ? t('details.sizeUnknown') : bytes(candidate.size)),
            candidate.sha256 &&
              h('span', { class: 'hash', title: `SHA-256 ${candidate.sha256}` }, candidate.sha256.slice(0, 10)),
            candidate.needs && h('span', { class: 'warn' }, t('needs.short')),
            candidate.safety === 'danger' && h('span', { class: 'warn' }, t('safety.short'))
          ),
          h('span', { class: 'note' }, evidenceText(context, candidate, true))
        )
      )
    )
  )
}

/**
 * @param {Context} context
 * @param {Reference} reference
 */
function nodeButton({ onGraph, t }, reference) {
  const title = onGraph.nodeTitle?.(reference) ?? reference.node_type
  const text = `${title} #${reference.node_id}`
  const what = `${reference.node_type} · ${reference.input}`
  const key = `${reference.node_id} ${reference.input}`
  const { locate } = onGraph
  if (!locate) return h('span', { key, class: 'node', title: what }, text)
  return h(
    'button',
    {
      key,
      type: 'button',
      class: 'node link',
      title: `${t('row.locate')} (${what})`,
      'data-testid': 'model-resolver-node',
      'data-node-id': reference.node_id,
      onclick: () => locate(reference.node_id)
    },
    text
  )
}
