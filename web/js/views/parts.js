// @ts-check

// Small pieces that several views share.

import { h } from '../dom.js'
import { splitName } from '../format.js'
import { icon } from '../icons.js'
import { originOf, safeUrl } from '../links.js'

/** @import { Candidate } from '../../types/contract' */
/** @import { Child } from '../dom.js' */
/** @import { IconName } from '../icons.js' */
/** @import { Context } from './context.js' */

/**
 * A name of any length in one line: its middle gives way, its end stays. Read out and copied as a whole.
 *
 * @param {string} name
 */
export function longName(name) {
  const [head, tail] = splitName(name)
  return h(
    'span',
    { class: 'long-name', title: name },
    h('span', { class: 'visually-hidden' }, name),
    h('span', { class: 'head', 'aria-hidden': 'true' }, head),
    h('span', { class: 'tail', 'aria-hidden': 'true' }, tail)
  )
}

/**
 * @param {IconName} name
 * @param {string} label
 * @param {() => void} onclick
 * @param {{ testid?: string, class?: string, disabled?: boolean }} [options]
 */
export function iconButton(name, label, onclick, options = {}) {
  return h(
    'button',
    {
      type: 'button',
      class: `icon-button ${options.class ?? ''}`,
      title: label,
      'aria-label': label,
      'data-testid': options.testid,
      disabled: options.disabled ?? false,
      onclick
    },
    icon(name)
  )
}

/**
 * A text with a button that copies it.
 *
 * @param {Context} context
 * @param {string} text
 * @param {string} [style]
 */
export function copyable({ t, state, store }, text, style = '') {
  const done = state.copied === text
  return h(
    'span',
    { class: `copyable ${style}` },
    h('span', { class: 'path', title: text }, text),
    iconButton(done ? 'check' : 'copy', t(done ? 'details.copied' : 'details.copy'), () => void store.copy(text), {
      class: done ? 'done' : 'quiet',
      testid: 'model-resolver-copy'
    })
  )
}

/**
 * @param {string} label
 * @param {() => void} onclick
 * @param {{ testid?: string, class?: string, icon?: IconName, disabled?: boolean, describedby?: string }} [options]
 */
export function button(label, onclick, options = {}) {
  return h(
    'button',
    {
      type: 'button',
      class: `button ${options.class ?? ''}`,
      'data-testid': options.testid,
      'aria-describedby': options.describedby,
      disabled: options.disabled ?? false,
      onclick
    },
    options.icon && icon(options.icon),
    h('span', null, label)
  )
}

/**
 * A link to another site, in a new tab; plain text if the URL is not one that may be followed.
 *
 * @param {string | null} url
 * @param {Child} content
 * @param {{ testid?: string, title?: string }} [options]
 */
export function externalLink(url, content, options = {}) {
  const href = safeUrl(url)
  if (!href) return h('span', { 'data-testid': options.testid }, content)
  return h(
    'a',
    {
      href,
      target: '_blank',
      rel: 'noopener noreferrer',
      title: options.title ?? href,
      'data-testid': options.testid
    },
    content,
    icon('external', 'small')
  )
}

/**
 * @param {Context} context
 * @param {Candidate} candidate
 */
export function confidenceBadge({ t }, candidate) {
  if (candidate.source === 'user') return h('span', { class: 'badge own' }, t('confidence.own'))
  return h(
    'span',
    {
      class: `badge ${candidate.confidence}`,
      title: t(`confidenceWhy.${candidate.confidence}`),
      'data-testid': 'model-resolver-confidence'
    },
    t(`confidence.${candidate.confidence}`)
  )
}

/**
 * Who publishes a candidate, as a link to its page.
 *
 * @param {Context} context
 * @param {Candidate} candidate
 */
export function originLink({ say }, candidate) {
  const { site, publisher } = originOf(candidate)
  return externalLink(candidate.page_url ?? candidate.url, publisher || (site && say('sources', site)), {
    testid: 'model-resolver-source'
  })
}

/**
 * Where a candidate lies and why we believe in it, in words.
 *
 * @param {Context} context
 * @param {Candidate} candidate
 * @param {boolean} [all] every reason; else, for what is certain, only the strongest
 */
export function evidenceText({ t, say, has }, candidate, all = false) {
  const { site, publisher } = originOf(candidate)
  const { source, confidence } = candidate
  const reasons = candidate.evidence.map((evidence) => {
    // Who lists it says more than that somebody does.
    return evidence === 'catalog' && has(`evidence.by.${source}`)
      ? t(`evidence.by.${source}`)
      : say('evidence', evidence)
  })
  if (confidence === 'exact' && !all) reasons.splice(1)
  return [site && publisher && say('sources', site), ...reasons].filter(Boolean).join(' · ')
}

/**
 * @param {number | null} value 0 … 100; null while nobody knows
 * @param {{ label: string, text: string, class?: string, testid?: string }} options `text` is read out
 */
export function progressBar(value, options) {
  return h(
    'div',
    {
      class: `bar ${value === null ? 'unknown' : ''} ${options.class ?? ''}`,
      role: 'progressbar',
      'aria-label': options.label,
      'aria-valuetext': options.text,
      'aria-valuemin': '0',
      'aria-valuemax': '100',
      'aria-valuenow': value === null ? null : Math.floor(value),
      'data-testid': options.testid
    },
    h('span', { class: 'fill', style: value === null ? null : `width:${value.toFixed(2)}%` })
  )
}
