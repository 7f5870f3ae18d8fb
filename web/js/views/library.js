// @ts-check

// The files on the server by their content: reading them all once, and the copies that shows.

import { h } from '../dom.js'
import { percent } from '../format.js'
import { icon } from '../icons.js'
import { LIBRARY_KEY } from '../library.js'
import { figures } from './download.js'
import { button, copyable, iconButton, longName, progressBar } from './parts.js'

/** @import { DuplicateGroup, Hashing } from '../../types/contract' */
/** @import { Context } from './context.js' */

/** So many groups are shown before the user asks for all. */
const FIRST = 20
const ALL_KEY = 'library:all'

/** @param {Context} context */
export function libraryView(context) {
  const { t, state, store } = context
  const open = state.open.has(LIBRARY_KEY)
  const { hashing } = state.library
  const running = hashing !== null && hashing.state !== 'idle'
  const far = running ? percent(hashing.bytes_done, hashing.bytes_total) : null
  return h(
    'section',
    { key: LIBRARY_KEY, class: 'folded', 'data-testid': 'model-resolver-library' },
    h(
      'button',
      {
        type: 'button',
        class: 'fold-head',
        'aria-expanded': open ? 'true' : 'false',
        'data-testid': 'model-resolver-library-toggle',
        onclick: () => void store.library.toggle()
      },
      icon('chevron', `fold ${open ? 'open' : ''}`),
      h('span', { class: 'grow' }, t('library.title')),
      !open && far !== null && h('span', { class: 'size' }, `${Math.floor(far)}%`)
    ),
    open &&
      h(
        'div',
        { class: 'library' },
        running ? progressView(context, hashing) : beginView(context),
        problemText(context),
        duplicatesView(context)
      )
  )
}

/**
 * What reading does and costs, and the way to begin.
 *
 * @param {Context} context
 */
function beginView({ t, bytes, state, store }) {
  const { hashing, busy } = state.library
  if (!hashing) return null
  const { failed, unhashed_files: files, unhashed_bytes: size } = hashing
  if (files === 0) {
    return h('p', { key: 'known', 'data-testid': 'model-resolver-library-known' }, t('library.known'))
  }
  return h(
    'div',
    { key: 'begin', class: 'library-begin' },
    h('p', { id: 'library-what', 'data-testid': 'model-resolver-library-what' }, t('library.what')),
    h(
      'p',
      { id: 'library-cost', class: 'library-cost', 'data-testid': 'model-resolver-library-cost' },
      h('span', null, t('library.unread')),
      h('strong', null, t('library.cost', { n: files, size: bytes(size) }))
    ),
    failed > 0 && h('p', { class: 'note warn' }, t('library.failed', { n: failed })),
    h(
      'div',
      { class: 'buttons' },
      button(t('library.start'), () => void store.library.control('start'), {
        icon: 'search',
        testid: 'model-resolver-library-start',
        describedby: 'library-what library-cost',
        disabled: busy
      })
    )
  )
}

/**
 * @param {Context} context
 * @param {Hashing} hashing
 */
function progressView(context, hashing) {
  const { t, bytes, store } = context
  const { state, folder, done, total, bytes_done, bytes_total, failed } = hashing
  const value = percent(bytes_done, bytes_total)
  const texts =
    total === 0
      ? [t('library.counting')]
      : [
          [value !== null && `${Math.floor(value)}%`, t('library.files', { done, n: total })]
            .filter(Boolean)
            .join(' · '),
          `${bytes(bytes_done)} / ${bytes(bytes_total)}`
        ]
  const title = t(`library.state.${state}`)
  return h(
    'div',
    {
      key: 'progress',
      class: `overall ${state}`,
      'data-testid': 'model-resolver-library-progress',
      'data-state': state
    },
    h(
      'div',
      { class: 'overall-head' },
      h('strong', { role: 'status' }, title),
      state === 'paused'
        ? iconButton('play', t('library.resume'), () => void store.library.control('resume'), {
            testid: 'model-resolver-library-resume'
          })
        : iconButton('pause', t('library.pause'), () => void store.library.control('pause'), {
            testid: 'model-resolver-library-pause'
          }),
      iconButton('close', t('library.cancel'), () => void store.library.control('cancel'), {
        testid: 'model-resolver-library-cancel'
      })
    ),
    folder !== null &&
      h(
        'p',
        { class: 'note library-folder', 'data-testid': 'model-resolver-library-folder' },
        icon('folder', 'small'),
        h('span', null, t('library.only', { folder }))
      ),
    progressBar(value, {
      label: t('library.title'),
      text: texts.join(' · '),
      testid: 'model-resolver-library-bar'
    }),
    figures(texts),
    failed > 0 && h('p', { class: 'note warn' }, t('library.failed', { n: failed }))
  )
}

/** @param {Context} context */
function problemText({ t, has, state }) {
  const { problem } = state.library
  if (!problem) return null
  const { code, message } = problem
  const text = has(`errors.${code}`) ? t(`errors.${code}`) : message || t('state.noAnswer')
  return h(
    'p',
    {
      key: 'problem',
      class: 'warn',
      role: 'alert',
      'data-testid': 'model-resolver-library-problem',
      'data-code': code
    },
    text
  )
}

/**
 * Files of equal content, what takes most space first. A report: nothing here deletes anything.
 *
 * @param {Context} context
 */
function duplicatesView(context) {
  const { t, bytes, state, store } = context
  const { duplicates, hashing } = state.library
  if (!duplicates) return null
  const { groups, wasted } = duplicates
  const note = (/** @type {string} */ text) => h('p', { class: 'note' }, text)
  // Before anything was read there is nothing to say of copies.
  if (groups.length === 0) return hashing?.unhashed_files === 0 && note(t('library.noCopies'))
  const shown = state.open.has(ALL_KEY) ? groups : groups.slice(0, FIRST)
  return h(
    'div',
    { key: 'copies', class: 'duplicates', 'data-testid': 'model-resolver-duplicates' },
    h('h3', { id: 'duplicates' }, t('library.copies', { n: groups.length, size: bytes(wasted) })),
    note(t('library.reportOnly')),
    h(
      'ul',
      { 'aria-labelledby': 'duplicates' },
      shown.map((group) => groupView(context, group))
    ),
    shown.length < groups.length &&
      button(t('library.showAll', { n: groups.length }), () => store.toggle(ALL_KEY), {
        testid: 'model-resolver-duplicates-all'
      })
  )
}

/**
 * @param {Context} context
 * @param {DuplicateGroup} group
 */
function groupView(context, { sha256, copies, size, wasted, files }) {
  const { t, bytes } = context
  const name = files[0].name.split('/').at(-1) ?? files[0].name
  const paths = [...new Set(files.map(({ path }) => path))]
  const about = [
    t('library.each', { n: copies, size: bytes(size) }),
    paths.length > copies && t('library.names', { n: paths.length })
  ]
  return h(
    'li',
    { key: sha256, 'data-testid': 'model-resolver-duplicate' },
    h('div', { class: 'duplicate-head' }, longName(name), h('span', { class: 'size' }, bytes(wasted))),
    h('p', { class: 'note' }, about.filter(Boolean).join(' · ')),
    h(
      'ul',
      { class: 'paths' },
      paths.map((path) => h('li', { key: path }, copyable(context, path)))
    )
  )
}
