// @ts-check

// What went wrong in a search as a whole: said once, not in every row.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { button } from './parts.js'

/** @import { SourceError } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Child } from '../dom.js' */
/** @import { IconName } from '../icons.js' */
/** @import { Context } from './context.js' */

/** Of the program itself, and of what lies on this machine: what fails there is a single file's server. */
const LOCAL = new Set(['resolver', 'workflow', 'templates', 'manager', 'examples', 'history', 'user'])
/** How a source fails as a whole, and not about one file. */
const FAILURES = new Set([
  'RATE_LIMITED',
  'SERVER_ERROR',
  'SERVER_REFUSED',
  'NETWORK',
  'TLS_FAILED',
  'TOKEN_REJECTED',
  'API_ANSWER',
  'BUDGET_SPENT'
])

/**
 * No server can be reached: one state, whatever the number of models and sources.
 *
 * @param {SourceError} error
 */
export function isOffline({ source, code }) {
  return source === 'resolver' && code === 'OFFLINE'
}

/**
 * Whether a source as a whole gave no answer.
 *
 * @param {SourceError} error
 */
export function isSourceFailure({ source, code }) {
  return code.startsWith('SOURCE_') || (FAILURES.has(code) && !LOCAL.has(source))
}

/**
 * @param {Context} context
 * @param {Row[]} rows
 */
export function noticesView(context, rows) {
  const { t, say, has } = context
  const errors = rows.flatMap((row) => row.resolution?.errors ?? [])
  if (errors.some(isOffline)) {
    return callout(context, 'offline', [notice('resolver', 'OFFLINE', t('notices.OFFLINE'))])
  }
  /** @type {Map<string, string>} */
  const failures = new Map()
  for (const { source, code } of errors.filter(isSourceFailure)) {
    if (!failures.has(source)) failures.set(source, code)
  }
  if (failures.size === 0) return null
  return callout(
    context,
    'alert',
    [...failures].map(([source, code]) => {
      const key = `notices.${code}`
      return notice(source, code, t(has(key) ? key : 'notices.other', { name: say('sources', source) }))
    })
  )
}

/**
 * @param {string} source
 * @param {string} code
 * @param {string} text
 */
function notice(source, code, text) {
  const marks = { 'data-testid': 'model-resolver-notice', 'data-source': source, 'data-code': code }
  return h('p', { key: source, ...marks }, text)
}

/**
 * However many sources failed, there is one thing to do about it.
 *
 * @param {Context} context
 * @param {IconName} picture
 * @param {Child[]} notices
 */
function callout({ t, store, state }, picture, notices) {
  return h(
    'div',
    { key: 'notices', class: 'callout', role: 'status' },
    icon(picture),
    h(
      'div',
      null,
      notices,
      h(
        'div',
        { class: 'buttons' },
        button(t('state.searchAgain'), () => void store.rescan(), {
          icon: 'retry',
          testid: 'model-resolver-search-again',
          disabled: state.search.running || state.phase === 'scanning'
        })
      )
    )
  )
}
