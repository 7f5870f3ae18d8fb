// @ts-check

import { h } from '../dom.js'
import { percent } from '../format.js'
import { figures, paceText } from './download.js'
import { iconButton, progressBar } from './parts.js'

/** @import { Overall, Plan, Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/**
 * The main button, and above it how everything under way gets on.
 *
 * @param {Context} context
 * @param {Row[]} rows
 * @param {Plan} plan
 * @param {Overall | null} overall
 */
export function footerView(context, rows, plan, overall) {
  // A button with nothing to do would only be in the way: while downloads run, and where a run needs none.
  const choosable =
    plan.items.length > 0 || (!overall && rows.some((row) => row.selectable && row.model.active))
  if (!overall && !choosable) return null
  return h(
    'footer',
    { key: 'footer', class: 'footer' },
    overall && overallView(context, overall),
    choosable && mainButton(context, plan)
  )
}

/**
 * @param {Context} context
 * @param {Plan} plan
 */
function mainButton(context, plan) {
  const { t, state, store } = context
  const count = plan.items.length
  const reason = blockedText(context, plan)
  return [
    reason &&
      h(
        'p',
        {
          key: 'reason',
          id: 'blocked',
          class: 'note warn',
          role: 'status',
          'data-testid': 'model-resolver-blocked'
        },
        reason
      ),
    h(
      'button',
      {
        key: 'main',
        type: 'button',
        class: 'button main',
        disabled: count === 0 || plan.blocked !== null,
        // Not disabled: that would take the keyboard away from it.
        'aria-disabled': state.starting ? 'true' : null,
        'aria-describedby': reason ? 'blocked' : null,
        'aria-busy': state.starting ? 'true' : null,
        'data-testid': 'model-resolver-download-all',
        onclick: () => state.starting || store.download()
      },
      count === 0 ? t('main.nothing') : t('main.download', { n: count, size: sizeText(context, plan) })
    )
  ]
}

/**
 * @param {Context} context
 * @param {Plan} plan
 * @returns {string} e.g. `11.9 GB + unknown`
 */
function sizeText({ t, bytes }, plan) {
  if (plan.unsized === plan.items.length) return t('main.sizeUnknown')
  return plan.unsized > 0 ? t('main.sizePartly', { size: bytes(plan.bytes) }) : bytes(plan.bytes)
}

/**
 * @param {Context} context
 * @param {Plan} plan
 * @returns {string | null}
 */
function blockedText({ t, bytes }, { blocked }) {
  if (!blocked) return null
  const { kind, path, needed, free } = blocked
  if (kind === 'read_only') return t('main.readOnly', { path })
  return t('main.noSpace', { path, needed: bytes(needed), free: bytes(free), short: bytes(needed - free) })
}

/**
 * @param {Context} context
 * @param {Overall} overall
 */
function overallView(context, overall) {
  const { t, bytes, store } = context
  const { downloads } = store
  const value = percent(overall.received, overall.size)
  const far = [
    value !== null && `${Math.floor(value)}%`,
    overall.size === null ? bytes(overall.received) : `${bytes(overall.received)} / ${bytes(overall.size)}`
  ]
  const texts = [far.filter(Boolean).join(' · '), paceText(context, overall.speed, overall.eta)].filter(Boolean)
  const title = t(overall.paused ? 'overall.paused' : 'overall.running', {
    done: overall.done,
    total: overall.total
  })
  return h(
    'div',
    { key: 'overall', class: 'overall', 'data-testid': 'model-resolver-overall' },
    h(
      'div',
      { class: 'overall-head' },
      h('strong', null, title),
      overall.paused
        ? iconButton('play', t('overall.resumeAll'), () => downloads.controlAll('resume'), {
            testid: 'model-resolver-resume-all'
          })
        : iconButton('pause', t('overall.pauseAll'), () => downloads.controlAll('pause'), {
            testid: 'model-resolver-pause-all'
          }),
      iconButton('close', t('overall.cancelAll'), () => downloads.controlAll('cancel'), {
        testid: 'model-resolver-cancel-all'
      })
    ),
    progressBar(value, { label: title, text: texts.join(' · '), testid: 'model-resolver-overall-bar' }),
    figures(texts),
    overall.failed > 0 && h('p', { class: 'note warn' }, t('overall.failed', { n: overall.failed }))
  )
}
