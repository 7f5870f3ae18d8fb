// @ts-check

// The page our own server shows at `/`: choose a workflow, then the same panel as in ComfyUI's sidebar.

import { h, patch } from './js/dom.js'
import { defineElements } from './js/panel.js'
import { Store } from './js/store.js'
import { ACCEPTED } from './js/views/file.js'
import { createStandaloneHost } from './standalone_host.js'

/** @import { ModelResolverPanel } from './js/panel.js' */

const LANGUAGES = { en: 'English', zh: '中文' }
const SAVED = { theme: 'model-resolver.theme', language: 'model-resolver.language' }

const systemDark = matchMedia('(prefers-color-scheme: dark)')
const page = /** @type {HTMLElement} */ (document.getElementById('page'))
const card = /** @type {HTMLElement} */ (document.getElementById('card'))

const view = {
  language: localStorage.getItem(SAVED.language) ?? (navigator.language.startsWith('zh') ? 'zh' : 'en'),
  theme: localStorage.getItem(SAVED.theme) ?? 'auto',
  over: false,
  askToken: false
}

const { host, isTokenWrong, signIn } = createStandaloneHost({
  locale: () => view.language,
  unauthorized() {
    view.askToken = true
    render()
  }
})
const store = new Store(host)
const { t } = store.i18n

defineElements()
const panel = /** @type {ModelResolverPanel} */ (document.createElement('model-resolver-panel'))
panel.store = store
card.append(panel)

function applyTheme() {
  const dark = view.theme === 'auto' ? systemDark.matches : view.theme === 'dark'
  document.documentElement.dataset.theme = dark ? 'dark' : 'light'
}

/** @param {FileList | undefined | null} files */
async function take(files) {
  const file = files?.[0]
  if (!file) return
  const looking = store.openFile(file)
  render()
  await looking
}

/** @param {Event & { currentTarget: any }} event */
function onToken(event) {
  event.preventDefault()
  signIn(event.currentTarget.elements.token.value)
  view.askToken = false
  void start()
}

/**
 * @param {string} label
 * @param {string} value
 * @param {Record<string, string>} options
 * @param {(value: string) => void} onPick
 */
function picker(label, value, options, onPick) {
  return h(
    'select',
    {
      'aria-label': label,
      title: label,
      value,
      onchange: (/** @type {Event & { currentTarget: any }} */ event) => onPick(event.currentTarget.value)
    },
    Object.entries(options).map(([key, text]) => h('option', { key, value: key }, text))
  )
}

function topBar() {
  const themes = { auto: t('page.themeAuto'), light: t('page.themeLight'), dark: t('page.themeDark') }
  return h(
    'header',
    { key: 'top', class: 'top' },
    h('h1', null, h('span', null, 'ComfyUI '), t('title')),
    picker(t('page.theme'), view.theme, themes, (theme) => {
      view.theme = theme
      localStorage.setItem(SAVED.theme, theme)
      render()
    }),
    picker(t('page.language'), view.language, LANGUAGES, (language) => {
      view.language = language
      localStorage.setItem(SAVED.language, language)
      render()
      store.changed()
    })
  )
}

function tokenForm() {
  return h(
    'form',
    { key: 'token', class: 'token', onsubmit: onToken },
    h('p', null, t('page.token')),
    h('input', {
      type: 'password',
      name: 'token',
      required: true,
      autocomplete: 'off',
      autofocus: true,
      'aria-invalid': String(isTokenWrong()),
      'aria-label': t('page.tokenLabel')
    }),
    h('button', { type: 'submit', class: 'page-button first' }, t('page.tokenUse'))
  )
}

function dropZone() {
  const { over } = view
  const fileName = store.state.file?.name
  const chooser = h(
    'label',
    { class: `page-button ${fileName ? '' : 'first'}` },
    t(fileName ? 'page.chooseOther' : 'page.choose'),
    h('input', {
      type: 'file',
      class: 'visually-hidden',
      accept: ACCEPTED,
      'data-testid': 'model-resolver-file',
      onchange: (/** @type {Event & { currentTarget: HTMLInputElement }} */ { currentTarget: input }) => {
        void take(input.files)
        input.value = ''
      }
    })
  )
  const invitation = [
    h(
      'svg',
      {
        viewBox: '0 0 56 56',
        fill: 'none',
        stroke: 'currentColor',
        'stroke-width': '2.5',
        'stroke-linecap': 'round',
        'stroke-linejoin': 'round',
        'aria-hidden': 'true'
      },
      h('path', { d: 'M14 8h18l10 10v30H14z' }),
      h('path', { d: 'M32 8v10h10' }),
      h('path', { d: 'M28 25v15M21.5 34l6.5 6.5 6.5-6.5' })
    ),
    h('h2', null, t('page.drop')),
    h('p', null, t('page.intro')),
    chooser,
    h('p', null, t('page.formats'))
  ]
  return h(
    'div',
    {
      key: 'drop',
      class: `drop ${fileName ? 'small' : ''} ${over ? 'over' : ''}`,
      'data-testid': 'model-resolver-drop'
    },
    fileName ? [h('h2', { class: 'file-name', title: fileName }, fileName), chooser] : invitation
  )
}

function render() {
  applyTheme()
  document.documentElement.lang = view.language === 'zh' ? 'zh-CN' : 'en'
  document.title = `ComfyUI ${t('title')}`
  patch(page, [topBar(), view.askToken ? tokenForm() : dropZone()])
  card.hidden = view.askToken
}


for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(type, (event) => {
    event.preventDefault()
    const leaves =
      type === 'drop' || (type === 'dragleave' && /** @type {DragEvent} */ (event).relatedTarget === null)
    if (view.over === leaves) {
      view.over = !leaves
      render()
    }
    if (type === 'drop' && !view.askToken) void take(/** @type {DragEvent} */ (event).dataTransfer?.files)
  })
}
systemDark.addEventListener('change', render)

async function start() {
  await store.i18n.load()
  await Promise.all([store.downloads.restore(), store.access.load(), store.library.restore()])
  render()
}

void start()
