// @ts-check

// What the panel shows when there is no list to show.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { fileChooser } from './file.js'
import { button } from './parts.js'

/** @import { Problem } from '../../types/state' */
/** @import { Child } from '../dom.js' */
/** @import { Context } from './context.js' */

/** @param {Context} context */
export function loadingView({ t }) {
  return h(
    'div',
    {
      key: 'loading',
      class: 'skeleton',
      'data-testid': 'model-resolver-loading',
      role: 'status',
      'aria-label': t('state.scanning')
    },
    [72, 54, 84, 61].map((width, index) =>
      h(
        'div',
        { key: String(index), class: 'bone-row' },
        h('span', { class: 'bone box' }),
        h('span', { class: 'bone', style: `width:${width}%` }),
        h('span', { class: 'bone thin', style: `width:${width - 24}%` })
      )
    )
  )
}

/** @param {Context} context */
export function idleView(context) {
  const { t } = context
  return message('idle', openBox(false), t('state.idleTitle'), t('state.idleText'), otherFile(context))
}

/** @param {Context} context */
export function noModelsView(context) {
  const { t, state, store } = context
  const more = store.host.kind === 'comfyui' ? !state.file && otherFile(context) : lookAgain(context)
  return message('no-models', openBox(false), t('state.noModelsTitle'), t('state.noModelsText'), more)
}

/** @param {Context} context */
function otherFile(context) {
  return [h('p', null, context.t('file.hint')), fileChooser(context, 'button', context.t('page.choose'))]
}

/**
 * @param {Context} context
 * @param {number} count of models the workflow uses
 */
export function allHereView(context, count) {
  const { t, store } = context
  const more = store.host.kind === 'standalone' && lookAgain(context)
  return message('all-here', openBox(true), t('state.allHereTitle'), t('state.allHereText', { n: count }), more)
}

/**
 * The page's way to a new scan where there is no summary, which holds it otherwise.
 *
 * @param {Context} context
 */
function lookAgain({ t, store }) {
  return button(t('header.rescan'), () => void store.rescan(), {
    icon: 'refresh',
    testid: 'model-resolver-rescan'
  })
}

/**
 * @param {Context} context
 * @param {Problem} problem
 */
export function unreachableView(context, problem) {
  const { t, store } = context
  return message(
    'unreachable',
    unplugged(),
    t(problem.message ? 'state.refusedTitle' : 'state.unreachableTitle'),
    problemText(context, problem),
    [
      h(
        'p',
        { class: 'code' },
        problem.message ? problem.code : problem.status > 0 && `HTTP ${problem.status}`
      ),
      button(t('state.tryAgain'), () => store.rescan(), { icon: 'retry', testid: 'model-resolver-try-again' })
    ]
  )
}

/**
 * A file that holds no workflow, or none that can be read.
 *
 * @param {Context} context
 * @param {Problem} problem
 */
export function unreadableView(context, problem) {
  const { t } = context
  return message('unreadable', tornPage(), t('file.failedTitle'), problemText(context, problem), [
    h('p', { class: 'code' }, problem.code),
    // The page has one of its own.
    context.store.host.kind === 'comfyui' && fileChooser(context, 'button', t('page.chooseOther'))
  ])
}

/**
 * Whether a problem is the file's: the server was there and has looked at it.
 *
 * @param {Context} context
 * @param {Problem} problem
 */
export function isAboutFile({ state, has }, problem) {
  return state.file !== null && has(`problem.${problem.code}`)
}

/**
 * @param {Context} context
 * @param {Problem} problem
 */
function problemText({ t, has }, problem) {
  if (has(`problem.${problem.code}`)) return t(`problem.${problem.code}`)
  if (has(`errors.${problem.code}`)) return t(`errors.${problem.code}`)
  if (problem.message) return problem.message
  if (problem.code === 'CUT_OFF') return t('state.cutOff')
  return t(problem.status === 404 ? 'state.notLoaded' : 'state.noAnswer')
}

/**
 * A failure that leaves the list of use: the search broke off, an action was refused.
 *
 * @param {Context} context
 * @param {string} key
 * @param {string} title
 * @param {Problem} problem
 * @param {Child} [action]
 */
export function problemBanner(context, key, title, problem, action) {
  return h(
    'div',
    {
      key,
      class: 'callout error',
      role: 'alert',
      'data-testid': 'model-resolver-banner',
      'data-code': problem.code
    },
    icon('alert'),
    h(
      'div',
      null,
      h('p', null, title),
      h('p', null, problemText(context, problem)),
      // Which file or host it is about stands in the server's own words.
      context.has(`errors.${problem.code}`) && h('p', { class: 'note' }, problem.message),
      action && h('div', { class: 'buttons' }, action)
    )
  )
}

/**
 * @param {string} key
 * @param {Child} picture
 * @param {string} title
 * @param {string} text
 * @param {Child} [more]
 */
function message(key, picture, title, text, more) {
  return h(
    'div',
    { key, class: 'state', 'data-testid': `model-resolver-${key}` },
    picture,
    h('h3', null, title),
    h('p', null, text),
    more
  )
}

/**
 * A shelf of models: complete and ticked off, or still empty.
 *
 * @param {boolean} full
 */
function openBox(full) {
  return h(
    'svg',
    { class: `picture ${full ? 'full' : ''}`, viewBox: '0 0 160 112', 'aria-hidden': 'true' },
    h('ellipse', { class: 'shade', cx: '80', cy: '101', rx: '58', ry: '6' }),
    h('path', {
      class: 'back',
      d: 'M34 30h92a6 6 0 0 1 6 6v58a6 6 0 0 1-6 6H34a6 6 0 0 1-6-6V36a6 6 0 0 1 6-6z'
    }),
    h('path', { class: 'line', d: 'M28 66h104' }),
    full && [
      h('rect', { class: 'book a', x: '40', y: '41', width: '13', height: '25', rx: '2' }),
      h('rect', { class: 'book b', x: '56', y: '46', width: '10', height: '20', rx: '2' }),
      h('rect', { class: 'book c', x: '69', y: '38', width: '15', height: '28', rx: '2' }),
      h('rect', { class: 'book b', x: '46', y: '77', width: '15', height: '23', rx: '2' }),
      h('rect', { class: 'book c', x: '64', y: '81', width: '11', height: '19', rx: '2' }),
      h('rect', { class: 'book a', x: '78', y: '75', width: '13', height: '25', rx: '2' }),
      h('circle', { class: 'seal', cx: '116', cy: '34', r: '19' }),
      h('path', { class: 'tick', d: 'M107.5 34.5l6 6 11.5-12' })
    ],
    !full && [
      h('path', { class: 'dots', d: 'M42 44h12v22H42zM60 48h10v18H60zM76 42h14v24H76z' }),
      h('circle', { class: 'lens', cx: '112', cy: '66', r: '16' }),
      h('path', { class: 'line thick', d: 'M123.5 78l13 14' })
    ]
  )
}

function tornPage() {
  return h(
    'svg',
    { class: 'picture', viewBox: '0 0 160 112', 'aria-hidden': 'true' },
    h('ellipse', { class: 'shade', cx: '80', cy: '101', rx: '46', ry: '6' }),
    h('path', { class: 'back', d: 'M52 14h38l20 20v42l-9 8-10-8-10 8-10-8-10 8-9-8-10 6z' }),
    h('path', { class: 'line', d: 'M90 14v20h20' }),
    h('path', { class: 'dots', d: 'M64 46h32M64 58h20' }),
    h('path', { class: 'line', d: 'M52 94l10-6 9 8 10-8 10 8 10-8 9 6' })
  )
}

function unplugged() {
  return h(
    'svg',
    { class: 'picture', viewBox: '0 0 160 112', 'aria-hidden': 'true' },
    h('ellipse', { class: 'shade', cx: '80', cy: '101', rx: '58', ry: '6' }),
    h('path', { class: 'line thick', d: 'M12 74c14 0 16-18 30-18h8' }),
    h('rect', { class: 'back', x: '48', y: '42', width: '24', height: '28', rx: '5' }),
    h('path', { class: 'line thick', d: 'M72 50h9M72 62h9' }),
    h('rect', { class: 'back', x: '98', y: '42', width: '24', height: '28', rx: '5' }),
    h('path', { class: 'line', d: 'M98 50h6M98 62h6' }),
    h('path', { class: 'line thick', d: 'M122 56h6c14 0 12 18 24 18' }),
    h('path', { class: 'spark', d: 'M89 30v-9M81 33l-5-7M97 33l5-7' })
  )
}
