// @ts-check

// What to do when a model cannot simply be downloaded.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { originOf, searchLinks } from '../links.js'
import { button, externalLink } from './parts.js'

/** @import { Candidate } from '../../types/contract' */
/** @import { Row } from '../../types/state' */
/** @import { Context } from './context.js' */

/**
 * @param {Context} context
 * @param {Row} row
 */
export function notFoundView(context, row) {
  const { t, say } = context
  return [
    h('p', { class: 'note' }, t('row.notFound')),
    sourceErrors(context, row, 'note warn'),
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
 * What the user has to do before a candidate can be had: accept a licence, sign in, allow its host.
 *
 * @param {Context} context
 * @param {Candidate} candidate
 */
export function needsView({ t, say }, candidate) {
  const { site, publisher } = originOf(candidate)
  const name = site ? say('sources', site) : publisher
  const { needs } = candidate
  const mayLogIn = needs === 'licence' || needs === 'token'
  return h(
    'div',
    {
      class: `callout ${needs ? 'warn' : ''}`,
      role: 'note',
      'data-testid': 'model-resolver-needs',
      'data-needs': needs
    },
    icon('lock'),
    h(
      'div',
      null,
      h(
        'p',
        null,
        needs
          ? mayLogIn || needs === 'allowed_host'
            ? t(`needs.${needs}`, { name })
            : needs
          : t('needs.met')
      ),
      mayLogIn &&
        h(
          'p',
          null,
          externalLink(candidate.page_url ?? candidate.url, t(`needs.${needs}Link`, { name }), {
            testid: 'model-resolver-licence'
          })
        ),
      mayLogIn && (site === 'huggingface' || site === 'civitai') && h('p', null, t(`needs.setting.${site}`)),
      needs === 'allowed_host' && h('p', null, t('needs.allowHost', { name }))
    )
  )
}

/**
 * What went wrong in the sources, each with its own words.
 *
 * @param {Context} context
 * @param {Row} row
 * @param {string} style a warning where nothing was found, else a side note
 */
export function sourceErrors({ say }, row, style) {
  return row.resolution?.errors.map((error, index) =>
    h(
      'p',
      {
        key: `${error.source} ${index}`,
        class: style,
        'data-testid': 'model-resolver-source-error',
        'data-code': error.code
      },
      `${say('sources', error.source)}: ${error.message}`
    )
  )
}

/**
 * @param {Context} context
 * @param {Row} row
 */
export function failureView({ store, t, say }, row) {
  const { download } = row
  if (!download) return null
  const code = download.error?.code ?? ''
  const hint = say('hints', code)
  return h(
    'div',
    { class: 'callout error', role: 'alert', 'data-testid': 'model-resolver-problem', 'data-code': code },
    h(
      'div',
      null,
      h('p', null, download.error?.message ?? t('download.failed')),
      hint !== code && h('p', { class: 'note' }, hint),
      h(
        'div',
        { class: 'buttons' },
        button(t('download.retry'), () => store.downloads.control(download.id, 'retry'), {
          icon: 'retry',
          testid: 'model-resolver-retry'
        }),
        row.candidates.length > 1 &&
          !store.state.open.has(`row:${row.id}`) &&
          button(t('row.others', { n: row.candidates.length - 1 }), () => store.toggle(`row:${row.id}`)),
        button(t('download.dismiss'), () => store.downloads.forget(download.id), { class: 'plain' })
      )
    )
  )
}
