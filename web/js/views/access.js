// @ts-check

// What to do about a file that only some accounts may have, and the tokens that are set.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { TOKEN_PAGES, originOf, pageOf } from '../links.js'
import { button, externalLink } from './parts.js'

/** @import { Candidate, Provider } from '../../types/contract' */
/** @import { Locked, Row, TokenCheck } from '../../types/state' */
/** @import { Context } from './context.js' */

/** @type {Provider[]} */
const PROVIDERS = ['huggingface', 'civitai']

/**
 * What the user has to do before a candidate can be had: accept a licence, give a token, allow its host.
 *
 * @param {Context} context
 * @param {Row} row
 * @param {Candidate} candidate
 */
export function needsView(context, row, candidate) {
  const { t, say, store } = context
  const { site, publisher } = originOf(candidate)
  const name = site ? say('sources', site) : publisher
  const { needs } = candidate
  const { account } = checkOf(context, candidate.url).result ?? {}
  const met = account ? t('needs.metBy', { account }) : t('needs.met')
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
      h('p', null, needs ? (context.has(`needs.${needs}`) ? t(`needs.${needs}`, { name }) : needs) : met),
      needs === 'allowed_host' && h('p', null, t('needs.allowHost', { name })),
      row.locked && accessSteps(context, row, row.locked, needs),
      !needs &&
        row.selectable &&
        h(
          'div',
          { class: 'buttons' },
          button(t('needs.download'), () => void store.download(row), {
            icon: 'download',
            testid: 'model-resolver-download-one'
          })
        )
    )
  )
}

/**
 * The licence's page, then a token: what came of it, and the ways on.
 *
 * @param {Context} context
 * @param {Row} row
 * @param {Locked} locked
 * @param {string | null} needs as of a candidate
 */
export function accessSteps(context, row, { provider, url }, needs) {
  const { t, say, state, store } = context
  const name = say('sources', provider)
  const page = row.chosen?.url === url ? (row.chosen.page_url ?? pageOf(url)) : pageOf(url)
  const check = checkOf(context, url)
  const replaceKey = `token:${url}`
  const asks = !isSet(context, provider) || isRefused(check) || state.open.has(replaceKey)
  return [
    h(
      'p',
      null,
      externalLink(page, t(needs === 'licence' ? 'needs.licenceLink' : 'needs.pageLink', { name }), {
        testid: 'model-resolver-licence'
      })
    ),
    verdict(context, provider, check),
    asks && tokenForm(context, provider, check.busy, (token) => void store.access.open(row, token)),
    !asks && !verdictText(context, provider, check) && h('p', { class: 'note' }, t('access.set', { name })),
    !asks &&
      h(
        'div',
        { class: 'buttons' },
        button(t('access.checkAgain'), () => void store.access.open(row), {
          icon: 'retry',
          testid: 'model-resolver-access-check',
          disabled: check.busy
        }),
        button(t('access.other'), () => store.toggle(replaceKey), {
          class: 'plain',
          testid: 'model-resolver-access-other'
        })
      )
  ]
}

/**
 * For which providers a token is set; to check, replace and forget it.
 *
 * @param {Context} context
 */
export function tokensView(context) {
  const { t, state, store } = context
  const key = 'section:tokens'
  const open = state.open.has(key)
  return h(
    'section',
    { key, class: 'folded', 'data-testid': 'model-resolver-tokens' },
    h(
      'button',
      {
        type: 'button',
        class: 'fold-head',
        'aria-expanded': open ? 'true' : 'false',
        'data-testid': 'model-resolver-tokens-toggle',
        onclick: () => store.toggle(key)
      },
      icon('chevron', `fold ${open ? 'open' : ''}`),
      t('access.title')
    ),
    open &&
      h(
        'ul',
        { class: 'tokens' },
        PROVIDERS.map((provider) => tokenView(context, provider))
      )
  )
}

/**
 * @param {Context} context
 * @param {Provider} provider
 */
function tokenView(context, provider) {
  const { t, say, state, store } = context
  const { access } = store
  const name = say('sources', provider)
  const origin = credentialOf(context, provider)?.origin ?? null
  const check = checkOf(context, provider)
  const replaceKey = `token:${provider}`
  const asks = origin === null || isRefused(check) || state.open.has(replaceKey)
  return h(
    'li',
    {
      key: provider,
      'data-testid': 'model-resolver-token',
      'data-provider': provider,
      'data-origin': origin
    },
    h(
      'div',
      { class: 'meta' },
      icon(origin ? 'check' : 'lock', `small ${origin ? 'set' : ''}`),
      h('strong', null, name),
      h('span', { class: 'note grow' }, t(`access.origin.${origin ?? 'none'}`))
    ),
    verdict(context, provider, check),
    asks && tokenForm(context, provider, check.busy, (token) => void access.check(provider, token)),
    origin &&
      h(
        'div',
        { class: 'buttons' },
        button(t('access.check'), () => void access.check(provider), {
          testid: 'model-resolver-token-check',
          disabled: check.busy
        }),
        !asks &&
          button(t('access.other'), () => store.toggle(replaceKey), {
            class: 'plain',
            testid: 'model-resolver-token-other'
          }),
        origin === 'stored' &&
          button(t('access.forget'), () => void access.forget(provider), {
            class: 'plain',
            testid: 'model-resolver-token-forget'
          })
      )
  )
}

/**
 * @param {Context} context
 * @param {Provider} provider
 * @param {boolean} busy
 * @param {(token: string) => void} give
 */
function tokenForm({ t, say }, provider, busy, give) {
  const name = say('sources', provider)
  /** @param {SubmitEvent} event */
  const onsubmit = (event) => {
    event.preventDefault()
    const form = /** @type {HTMLFormElement} */ (event.currentTarget)
    const input = /** @type {HTMLInputElement} */ (form.querySelector('input'))
    const token = input.value
    // Gone from the page as soon as it is given.
    form.reset()
    give(token)
  }
  return h(
    'form',
    { key: 'token', class: 'token-form', onsubmit },
    h(
      'div',
      { class: 'url-form' },
      // Without a name it can in no way become part of a URL.
      h('input', {
        class: 'field',
        type: 'password',
        autocomplete: 'off',
        autocapitalize: 'off',
        spellcheck: 'false',
        required: true,
        placeholder: t(`access.placeholder.${provider}`),
        'aria-label': t('access.label', { name }),
        'data-testid': 'model-resolver-token-input'
      }),
      h(
        'button',
        { type: 'submit', class: 'button', disabled: busy, 'data-testid': 'model-resolver-token-give' },
        t('access.give')
      )
    ),
    h(
      'p',
      { class: 'note' },
      externalLink(TOKEN_PAGES[provider], t(`access.make.${provider}`), {
        testid: 'model-resolver-token-page'
      }),
      ' ',
      t('access.kept', { name })
    )
  )
}

/**
 * @param {Context} context
 * @param {Provider} provider
 * @param {TokenCheck} check
 */
function verdict(context, provider, check) {
  const text = verdictText(context, provider, check)
  const code = check.problem?.code ?? check.result?.code
  return h(
    'p',
    {
      key: 'verdict',
      class: `verdict ${code ? 'warn' : ''}`,
      // There before it says something, so that it is read out.
      role: 'status',
      'data-testid': 'model-resolver-verdict',
      'data-code': code
    },
    text
  )
}

/**
 * @param {Context} context
 * @param {Provider} provider
 * @param {TokenCheck} check
 * @returns {string} empty if there is nothing to say
 */
function verdictText({ t, say, has }, provider, { busy, result, problem }) {
  const name = say('sources', provider)
  if (busy) return t('access.checking', { name })
  const code = problem?.code ?? result?.code
  const account = result?.account
  const scopes = result?.scopes.join(', ')
  const whose = account ? t(scopes ? 'access.ofWith' : 'access.of', { account, scopes: scopes ?? '' }) : ''
  if (!code) return whose
  const known = ['access.missing', 'errors'].map((group) => `${group}.${code}`).find(has)
  const what = known ? t(known, { name }) : (problem?.message || result?.message) ?? code
  return [whose, what].filter(Boolean).join(' ')
}

/** @type {TokenCheck} */
const UNCHECKED = { busy: false, result: null, problem: null }

/**
 * @param {Context} context
 * @param {string} key
 */
function checkOf({ state }, key) {
  return state.checks.get(key) ?? UNCHECKED
}

/**
 * @param {Context} context
 * @param {Provider} provider
 */
function credentialOf({ state }, provider) {
  return state.credentials.find((credential) => credential.provider === provider) ?? null
}

/**
 * @param {Context} context
 * @param {Provider} provider
 */
function isSet(context, provider) {
  return credentialOf(context, provider)?.set ?? false
}

/**
 * Only another token helps.
 *
 * @param {TokenCheck} check
 */
function isRefused({ result, problem }) {
  return problem !== null || result?.code === 'TOKEN_REJECTED' || result?.code === 'TOKEN_LACKS_SCOPE'
}
