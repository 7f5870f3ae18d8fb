// @ts-check

import { h, patch } from './dom.js'
import { takeDrops } from './drop_target.js'
import { overallOf, planOf } from './plan.js'
import { keepUnchanged, rowsOf } from './rows.js'
import { announcer } from './announce.js'
import { contextOf } from './views/context.js'
import { tokensView } from './views/access.js'
import { fileBar } from './views/file.js'
import { footerView } from './views/footer.js'
import { summaryBar, titleBar } from './views/header.js'
import { libraryView } from './views/library.js'
import { listView, othersView } from './views/list.js'
import { noticesView } from './views/notices.js'
import { button } from './views/parts.js'
import {
  allHereView,
  idleView,
  isAboutFile,
  loadingView,
  noModelsView,
  problemBanner,
  unreachableView,
  unreadableView
} from './views/states.js'

/** @import { Row } from '../types/state' */
/** @import { Child } from './dom.js' */
/** @import { Store } from './store.js' */
/** @import { Context } from './views/context.js' */

const STYLES = ['base', 'panel', 'row', 'details', 'library', 'states']

/**
 * `<model-resolver-panel>`: the whole list, for a sidebar or a page. Give it a `store`; it keeps no state of
 * its own, and may be made and dropped at will. A shadow root keeps other extensions' styles out.
 */
export class ModelResolverPanel extends HTMLElement {
  constructor() {
    super()
    /** @type {Store | null} */
    this.store = null
    this.root = this.attachShadow({ mode: 'open' })
    this.frame = 0
    this.takesDrops = false
    /** @type {Row[]} */
    this.rows = []
    /** @type {() => void} */
    this.unsubscribe = () => {}

    this.content = document.createElement('div')
    this.content.className = 'panel'
    // Shown once it is dressed.
    this.content.hidden = true
    const sheets = STYLES.map(styleSheet)
    void Promise.all(sheets.map(loaded)).then(() => (this.content.hidden = false))
    this.live = document.createElement('div')
    this.live.className = 'visually-hidden'
    this.live.setAttribute('aria-live', 'polite')
    this.dropHint = document.createElement('div')
    this.dropHint.className = 'drop-hint'
    this.root.append(...sheets, this.content, this.dropHint, this.live)

    // The editor takes keys and the clipboard for itself, and does not see into a shadow root.
    for (const type of ['keydown', 'keyup', 'copy', 'cut', 'paste']) {
      this.root.addEventListener(type, (event) => {
        const inField = event.target instanceof Element && event.target.matches('.field')
        if (inField || type === 'copy') event.stopPropagation()
      })
    }
  }

  connectedCallback() {
    const { store } = this
    if (!store) return
    // The page takes what is dropped anywhere on it.
    if (store.host.kind === 'comfyui') this.#takeDrops(store)
    this.announce = announcer(this.live)
    this.unsubscribe = store.subscribe(() => this.#renderSoon())
    this.setAttribute('data-host', store.host.kind)
    this.#render()
    void store.attach()
  }

  disconnectedCallback() {
    this.unsubscribe()
    cancelAnimationFrame(this.frame)
    this.frame = 0
    this.store?.detach()
  }

  /** @param {Store} store */
  #takeDrops(store) {
    if (this.takesDrops) return
    this.takesDrops = true
    takeDrops(this, {
      over: () => patch(this.dropHint, [h('span', null, store.i18n.t('file.drop'))]),
      take: (file) => void store.openFile(file)
    })
  }

  /** Many events may come within one frame. */
  #renderSoon() {
    if (this.frame) return
    this.frame = requestAnimationFrame(() => {
      this.frame = 0
      this.#render()
    })
  }

  #render() {
    if (!this.store?.i18n.loaded && this.store?.state.phase !== 'failed') return
    const context = contextOf(this.store)
    const rows = (this.rows = keepUnchanged(this.rows, rowsOf(this.store.state)))
    const place = focusPlace(this.root)
    patch(this.content, panelView(context, rows))
    keepFocus(place)
    this.announce?.(context, rows)
  }
}

/**
 * @param {ShadowRoot} root
 * @returns {HTMLElement[]} what has the keyboard, and what that is in
 */
function focusPlace(root) {
  const place = []
  for (let element = root.activeElement; element; element = element.parentElement) place.push(element)
  return /** @type {HTMLElement[]} */ (place)
}

/**
 * A button often goes as soon as it was pressed. The keyboard then stays where it was, and does not start
 * from the top of the page again.
 *
 * @param {HTMLElement[]} place before
 */
function keepFocus(place) {
  const [focused] = place
  if (!focused || focused.isConnected) return
  const left = place.find((element) => element.isConnected)
  if (!left) return
  left.tabIndex = -1
  left.focus({ preventScroll: true })
}

/** @param {string} name */
function styleSheet(name) {
  const link = document.createElement('link')
  link.rel = 'stylesheet'
  link.href = new URL(`./styles/${name}.css`, import.meta.url).href
  return link
}

/**
 * @param {HTMLLinkElement} link
 * @returns {Promise<unknown>} settles when it is there, or will not come
 */
function loaded(link) {
  return new Promise((resolve) => (link.onload = link.onerror = resolve))
}

/** Registers the element; more than once does no harm. */
export function defineElements() {
  if (!customElements.get('model-resolver-panel')) {
    customElements.define('model-resolver-panel', ModelResolverPanel)
  }
}

/**
 * @param {Context} context
 * @param {Row[]} rows
 * @returns {Child[]}
 */
function panelView(context, rows) {
  const { store, state } = context
  return [
    store.host.kind === 'comfyui' && [titleBar(context), fileBar(context)],
    h(
      'div',
      { key: 'body', class: 'body', 'aria-busy': state.phase === 'scanning' ? 'true' : 'false' },
      bodyView(context, rows)
    ),
    state.phase !== 'failed' && footerView(context, rows, planOf(state, rows), overallOf(state))
  ]
}

/**
 * @param {Context} context
 * @param {Row[]} rows
 * @returns {Child}
 */
function bodyView(context, rows) {
  const { state, store, t } = context
  if (state.phase === 'failed' && state.problem) {
    const view = isAboutFile(context, state.problem) ? unreadableView : unreachableView
    return view(context, state.problem)
  }
  if (state.phase === 'idle') {
    // The page has an invitation of its own.
    return [
      store.host.kind === 'comfyui' && idleView(context),
      othersView(context, []),
      libraryView(context),
      tokensView(context)
    ]
  }
  // While an open list is scanned again it stays: a flash of bones would say that something was lost.
  if (!state.analysis) return loadingView(context)

  const { search } = state
  const active = rows.filter((row) => row.model.active)
  const allHere = active.every((row) => row.state === 'present' || row.state === 'completed')
  const none = active.length === 0
  return [
    !allHere && summaryBar(context, rows),
    search.problem &&
      problemBanner(
        context,
        'search-problem',
        t('state.searchFailed'),
        search.problem,
        button(t('state.searchAgain'), () => store.search(), { icon: 'retry' })
      ),
    state.actionProblem &&
      problemBanner(context, 'action-problem', t('state.actionFailed'), state.actionProblem),
    noticesView(context, rows),
    none && noModelsView(context),
    !none && allHere && allHereView(context, active.length),
    listView(context, rows),
    libraryView(context),
    tokensView(context)
  ]
}
