// @ts-check

/** @import { Host } from '../types/host' */
/** @typedef {(key: string, params?: Record<string, string | number>) => string} Translate */

const OURS = 'modelResolver'

/**
 * Strings of locales/<lang>/main.json, which ComfyUI (and our own server) merges at `/i18n`.
 * Messages use vue-i18n's syntax, as ComfyUI's own: `{name}`, and `one | other` chosen by `{n}`.
 */
export class I18n {
  /** @param {Host} host */
  constructor(host) {
    this.host = host
    /** @type {Record<string, any>} */
    this.messages = {}
    this.loaded = false
  }

  /** Fetches the strings; does nothing once that has worked. */
  async load() {
    if (this.loaded) return
    try {
      const response = await this.host.fetch('/i18n')
      if (!response.ok) return
      this.messages = await response.json()
      this.loaded = true
    } catch {
      // Without a server there is nothing to show either; the next scan tries again.
    }
  }

  /** The tag for `Intl`, which refuses malformed ones. */
  get locale() {
    const tag = this.host.locale()
    try {
      return Intl.getCanonicalLocales(tag)[0] ?? 'en'
    } catch {
      return 'en'
    }
  }

  /** @type {Translate} */
  t = (key, params = {}) => {
    const message = this.#find(key)
    return message === null ? key : fill(message, params)
  }

  /** @param {string} key */
  has(key) {
    return this.#find(key) !== null
  }

  /** @param {string} key */
  #find(key) {
    const tag = this.host.locale()
    for (const language of [tag, tag.split('-')[0], 'en']) {
      const message = lookUp(this.messages[language]?.[OURS], key)
      if (message !== null) return message
    }
    return null
  }
}

/**
 * @param {any} tree
 * @param {string} key
 * @returns {string | null}
 */
function lookUp(tree, key) {
  let found = tree
  for (const part of key.split('.')) found = Object.hasOwn(found ?? {}, part) ? found[part] : undefined
  return typeof found === 'string' ? found : null
}

/**
 * @param {string} message
 * @param {Record<string, string | number>} params
 */
function fill(message, params) {
  const forms = message.split(' | ')
  const form = forms.length > 1 && params.n !== 1 ? forms[1] : forms[0]
  return form.replace(/\{(\w+)\}/g, (whole, name) => String(params[name] ?? whole))
}
