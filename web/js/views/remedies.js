// @ts-check

// What to do when a model cannot simply be downloaded.

import { h } from '../dom.js'
import { searchLinks } from '../links.js'
import { accessSteps } from './access.js'
import { isOffline, isSourceFailure } from './notices.js'
import { button, externalLink, iconButton } from './parts.js'

/** @import { SourceError } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/** How a download fails that goes better from elsewhere. */
const SOURCE_AT_FAULT = new Set([
  'URL_INVALID',
  'URL_SCHEME',
  'URL_CREDENTIALS',
  'URL_HOST_NOT_ALLOWED',
  'GATED',
  'UNAUTHORIZED',
  'NOT_FOUND',
  'NOT_FOUND_OR_PRIVATE',
  'SERVER_ERROR',
  'SERVER_REFUSED',
  'REDIRECT_REFUSED',
  'EXPIRED',
  'TRUNCATED',
  'HASH_MISMATCH',
  'SIZE_MISMATCH',
  'NOT_A_MODEL',
  'FILE_DAMAGED',
  'SIZE_UNKNOWN',
  'ENCODING_REFUSED'
])

/**
 * @param {Context} context
 * @param {Row} row
 */
export function notFoundView(context, row) {
  const { t, say } = context
  const errors = row.resolution?.errors ?? []
  const where = errors.some(isOffline)
    ? 'row.notKnownHere'
    : errors.some((error) => isSourceFailure(error) || error.source === 'resolver')
      ? 'row.notFoundPartly'
      : 'row.notFound'
  return [
    h('p', { class: 'note' }, t(where)),
    // What concerns all rows is said above them, and in the details.
    sourceErrors(context, row, 'note warn', (error) => !isOffline(error) && !isSourceFailure(error)),
    row.model.folder === null && folderChooser(context, row),
    urlForm(context, row),
    h(
      'p',
      { class: 'note ways' },
      t('row.searchYourself'),
      searchLinks(row.model.name).map(({ id, url }) =>
        externalLink(url, say('sources', id), { testid: `model-resolver-search-${id}` })
      )
    )
  ]
}

/**
 * @param {Context} context
 * @param {Row} row
 */
export function urlForm({ store, t }, row) {
  /** @param {SubmitEvent} event */
  const onsubmit = (event) => {
    event.preventDefault()
    const form = /** @type {HTMLFormElement} */ (event.currentTarget)
    const input = /** @type {HTMLInputElement} */ (form.elements.namedItem('url'))
    if (store.useUrl(row, input.value)) {
      form.reset()
      return
    }
    input.setCustomValidity(t('url.invalid'))
    input.reportValidity()
  }
  return h(
    'form',
    { class: 'url-form', novalidate: true, onsubmit },
    h('input', {
      name: 'url',
      class: 'field',
      type: 'text',
      inputmode: 'url',
      autocomplete: 'off',
      spellcheck: 'false',
      required: true,
      placeholder: t('url.placeholder'),
      'aria-label': t('url.label', { name: row.model.name }),
      'data-testid': 'model-resolver-url',
      oninput: (/** @type {Event} */ event) =>
        /** @type {HTMLInputElement} */ (event.currentTarget).setCustomValidity('')
    }),
    h('button', { type: 'submit', class: 'button', 'data-testid': 'model-resolver-url-use' }, t('url.use'))
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 */
export function folderChooser({ store, state, t }, row) {
  return h(
    'label',
    { class: 'folder-chooser' },
    h('span', { class: `note ${row.folder === null ? 'warn' : ''}` }, t('row.folderUnknown')),
    h(
      'select',
      {
        class: 'field',
        value: row.folder ?? '',
        'data-testid': 'model-resolver-folder',
        onchange: (/** @type {Event} */ event) =>
          store.setFolder(row, /** @type {HTMLSelectElement} */ (event.currentTarget).value)
      },
      h('option', { key: '', value: '', disabled: true }, t('row.folderChoose')),
      state.folders.map(({ name }) => h('option', { key: name, value: name }, name))
    )
  )
}

/**
 * What went wrong in the sources, in our words where there are some, and in the source's own.
 *
 * @param {Context} context
 * @param {Row} row
 * @param {string} style
 * @param {(error: SourceError) => boolean} told
 */
export function sourceErrors({ t, say, has }, row, style, told) {
  return row.resolution?.errors.filter(told).map(({ source, code, message }, index) => {
    const key = `errors.${code}`
    const known = has(key)
    return h(
      'div',
      { key: `${source} ${index}`, 'data-testid': 'model-resolver-source-error', 'data-code': code },
      h(
        'p',
        { class: style },
        t('row.sourceError', { name: say('sources', source), text: known ? t(key) : message })
      ),
      // Which file, or host, it is about.
      known && h('p', { class: 'note' }, message)
    )
  })
}

/**
 * The way to what the text advises; it stands in the details.
 *
 * @param {Context} context
 * @param {Row} row
 */
function otherSource({ store, t }, { id, candidates }) {
  const key = `row:${id}`
  if (store.state.open.has(key)) return null
  const others = candidates.length - 1
  return button(others > 0 ? t('row.others', { n: others }) : t('url.other'), () => store.toggle(key), {
    testid: 'model-resolver-other-source'
  })
}

/**
 * @param {Context} context
 * @param {Row} row
 */
export function failureView(context, row) {
  const { store, t, has } = context
  const { download } = row
  if (!download) return null
  const { code = '', message = t('download.failed') } = download.error ?? {}
  const known = has(`errors.${code}`)
  return h(
    'div',
    { class: 'callout error', 'data-testid': 'model-resolver-problem', 'data-code': code },
    h(
      'div',
      null,
      h('p', { role: 'alert' }, known ? t(`errors.${code}`) : message),
      // Which file, which server, which of the two hashes: in the server's own words.
      known && !row.locked && h('p', { class: 'note' }, message),
      row.locked && accessSteps(context, row, row.locked, code === 'GATED' ? 'licence' : 'token'),
      h(
        'div',
        { class: 'buttons' },
        button(t('download.retry'), () => store.downloads.control(download.id, 'retry'), {
          icon: 'retry',
          testid: 'model-resolver-retry'
        }),
        SOURCE_AT_FAULT.has(code) && otherSource(context, row)
      )
    ),
    iconButton('close', t('download.dismiss'), () => store.downloads.forget(download.id), {
      testid: 'model-resolver-dismiss'
    })
  )
}
