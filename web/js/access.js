// @ts-check

// Files that only some accounts may have: tokens are given, checked and forgotten here. A token goes to the
// server at once and is kept nowhere in the browser.

import { problemOf } from './client.js'
import { providerOf } from './links.js'
import { rowsOf } from './rows.js'

/** @import { Credential, CredentialCheck, Provider, Resolution } from '../types/contract' */
/** @import { Row, TokenCheck } from '../types/state' */
/** @import { Store } from './store.js' */

export class Access {
  /** @param {Store} store */
  constructor(store) {
    this.store = store
    this.client = store.client
    this.state = store.state
  }

  /** Asks for which providers a token is set. What was found out with those of before is forgotten. */
  async load() {
    this.state.checks.clear()
    this.state.opened.clear()
    // Without an answer a token may still be given.
    this.state.credentials = await this.client.credentials().catch(() => [])
    this.store.changed()
  }

  /**
   * Whether the file of a row is to be had now, with a new token or with what is set; then also what else
   * waits for the same provider.
   *
   * @param {Row} row that is `locked`
   * @param {string | null} [token]
   */
  async open(row, token = null) {
    if (!row.locked) return
    const { provider, url } = row.locked
    const result = await this.#ask(provider, url, token)
    const isNews = result?.code === null || (token !== null && result?.account)
    if (isNews) await this.#openAll(provider, url)
  }

  /**
   * Whose token it is, of a new one or of what is set.
   *
   * @param {Provider} provider
   * @param {string | null} [token]
   */
  async check(provider, token = null) {
    const result = await this.#ask(provider, null, token)
    if (result?.account && token !== null) await this.#openAll(provider)
  }

  /** @param {Provider} provider */
  async forget(provider) {
    const { state, store } = this
    const open = rowsOf(state).filter(
      ({ chosen }) =>
        chosen && providerOf(chosen) === provider && (chosen.gated || state.opened.has(chosen.url))
    )
    try {
      this.#set(await this.client.forgetToken(provider))
      // What was found out with it holds no longer.
      state.checks.clear()
      state.opened.clear()
    } catch (error) {
      this.#checked(provider, { problem: problemOf(error) })
    }
    store.changed()
    await store.searchAgain(open)
  }

  /**
   * A resolution, with what a check has found open since the servers were asked for it.
   *
   * @param {Resolution} resolution
   * @returns {Resolution}
   */
  asOpened(resolution) {
    const { opened } = this.state
    if (!resolution.candidates.some(({ url, needs }) => needs && opened.has(url))) return resolution
    const candidates = resolution.candidates.map((candidate) =>
      opened.has(candidate.url) ? { ...candidate, needs: null } : candidate
    )
    return { ...resolution, candidates }
  }

  /**
   * Asks for each file that waits for a provider. What is to be had is looked for again, or its failed
   * download goes on.
   *
   * @param {Provider} provider
   * @param {string} [asked] URL that was just asked for
   */
  async #openAll(provider, asked) {
    const { state, store } = this
    const waiting = rowsOf(state).filter(({ locked }) => locked?.provider === provider)
    const urls = new Set(waiting.flatMap(({ locked }) => locked?.url ?? []))
    await Promise.all([...urls].filter((url) => url !== asked).map((url) => this.#ask(provider, url, null)))
    for (const url of urls) if (state.checks.get(url)?.result?.code === null) state.opened.add(url)
    for (const [key, resolution] of state.resolutions) state.resolutions.set(key, this.asOpened(resolution))
    store.changed()
    const open = waiting.filter(({ locked }) => locked && state.opened.has(locked.url))
    for (const { download } of open) {
      if (download?.status === 'failed') await store.downloads.control(download.id, 'retry')
    }
    await store.searchAgain(open)
  }

  /**
   * @param {Provider} provider
   * @param {string | null} url of a file that should be to be had; null for the token alone
   * @param {string | null} token to be stored first
   * @returns {Promise<CredentialCheck | null>} null if there was no answer
   */
  async #ask(provider, url, token) {
    const key = url ?? provider
    this.#checked(key, { busy: true })
    try {
      if (token !== null) {
        this.#set(await this.client.setToken(provider, token))
        this.state.open.delete(`token:${key}`)
      }
      const result = await this.client.checkToken(provider, url)
      this.#checked(key, { result })
      return result
    } catch (error) {
      this.#checked(key, { problem: problemOf(error) })
      return null
    }
  }

  /**
   * @param {string} key
   * @param {Partial<TokenCheck>} check
   */
  #checked(key, check) {
    this.state.checks.set(key, { busy: false, result: null, problem: null, ...check })
    this.store.changed()
  }

  /** @param {Credential} credential */
  #set(credential) {
    const others = this.state.credentials.filter(({ provider }) => provider !== credential.provider)
    this.state.credentials = [...others, credential]
  }
}
