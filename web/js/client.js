// @ts-check

import { readLines } from './lines.js'

/** @import { Analysis, Credential, CredentialCheck, Download, DownloadItem } from '../types/contract' */
/** @import { Duplicates, Folder, Hashing, Provider } from '../types/contract' */
/** @import { Resolution, ResolveRequest } from '../types/contract' */
/** @import { Host } from '../types/host' */
/** @import { Problem } from '../types/state' */

const ROOT = '/model-resolver'
const MARK = { 'X-Model-Resolver': '1' }

/**
 * A refusal in the server's words; or, without any, `NO_ANSWER` (nothing of ours is there, or nobody at all)
 * or `CUT_OFF` (an answer that broke off).
 */
export class ApiError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {number} status
   */
  constructor(code, message, status) {
    super(message)
    this.code = code
    this.status = status
  }

  /** @returns {Problem} */
  asProblem() {
    return { code: this.code, message: this.message, status: this.status }
  }
}

/**
 * @param {unknown} error
 * @returns {Problem}
 */
export function problemOf(error) {
  if (error instanceof ApiError) return error.asProblem()
  return { code: 'UNEXPECTED', message: String(error instanceof Error ? error.message : error), status: 0 }
}

/**
 * @param {unknown} error
 * @returns {boolean}
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === 'AbortError'
}

/** @param {File} file */
function formOf(file) {
  const form = new FormData()
  form.set('file', file, file.name)
  return form
}

/** @param {boolean} afresh */
function analyzePath(afresh) {
  return afresh ? '/analyze?afresh=true' : '/analyze'
}

/** The routes of the contract, one method each. All reject with `ApiError`, or with the abort. */
export class Client {
  /** @param {Host['fetch']} fetch */
  constructor(fetch) {
    this.fetch = fetch
  }

  /**
   * @param {object} workflow
   * @param {AbortSignal} [signal]
   * @param {boolean} [afresh] observe the installed nodes again
   * @returns {Promise<Analysis>}
   */
  analyze(workflow, signal, afresh = false) {
    return this.#json(analyzePath(afresh), { method: 'POST', body: { workflow }, signal })
  }

  /**
   * @param {File} file
   * @param {AbortSignal} [signal]
   * @param {boolean} [afresh] observe the installed nodes again
   * @returns {Promise<Analysis>}
   */
  analyzeFile(file, signal, afresh = false) {
    return this.#json(analyzePath(afresh), { method: 'POST', form: formOf(file), signal })
  }

  /**
   * Resolutions as they are found.
   *
   * @param {ResolveRequest | File} request of a file, the missing models of the workflow in it
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<Resolution, void, void>}
   */
  async *resolve(request, signal) {
    const content = request instanceof File ? { form: formOf(request) } : { body: request }
    const response = await this.#send('/resolve', { method: 'POST', ...content, signal })
    if (!response.body) return
    try {
      for await (const line of readLines(response.body)) {
        if (!line.trim()) continue
        const message = JSON.parse(line)
        if (message.done) return
        if (message.error) throw new ApiError(message.error.code, message.error.message, response.status)
        yield message
      }
    } catch (error) {
      if (error instanceof ApiError || isAbort(error)) throw error
    }
    throw new ApiError('CUT_OFF', '', 0)
  }

  /** @returns {Promise<Folder[]>} */
  async folders() {
    return (await this.#json('/folders')).folders
  }

  /** @returns {Promise<number>} bytes that downloads leave free on a disk */
  async diskReserve() {
    /** @type {{ name: string, value: unknown }[]} */
    const settings = (await this.#json('/settings')).settings
    return Number(settings.find(({ name }) => name === 'CMR_DISK_RESERVE')?.value ?? 0)
  }

  /** @returns {Promise<Download[]>} */
  async downloads() {
    return (await this.#json('/downloads')).downloads
  }

  /**
   * @param {DownloadItem[]} items
   * @returns {Promise<Download[]>}
   */
  async start(items) {
    return (await this.#json('/downloads', { method: 'POST', body: { items } })).downloads
  }

  /**
   * @param {string} id
   * @param {'pause' | 'resume' | 'cancel' | 'retry'} verb
   * @returns {Promise<Download>}
   */
  control(id, verb) {
    return this.#json(`/downloads/${encodeURIComponent(id)}/${verb}`, { method: 'POST', body: {} })
  }

  /** @param {'pause' | 'resume' | 'cancel'} verb */
  async controlAll(verb) {
    await this.#send(`/downloads/${verb}`, { method: 'POST', body: {} })
  }

  /** @param {string} id of a finished download */
  async forget(id) {
    await this.#send(`/downloads/${encodeURIComponent(id)}`, { method: 'DELETE' })
  }

  /** @returns {Promise<Duplicates>} */
  duplicates() {
    return this.#json('/library/duplicates')
  }

  /** @returns {Promise<Hashing>} */
  hashing() {
    return this.#json('/library/hash')
  }

  /**
   * @param {'start' | 'pause' | 'resume' | 'cancel'} action
   * @returns {Promise<Hashing>}
   */
  controlHashing(action) {
    return this.#json('/library/hash', { method: 'POST', body: { action } })
  }

  /** @returns {Promise<Credential[]>} */
  async credentials() {
    return (await this.#json('/credentials')).credentials
  }

  /**
   * @param {Provider} provider
   * @param {string} token goes into the body, where no log keeps it
   * @returns {Promise<Credential>}
   */
  setToken(provider, token) {
    return this.#json(`/credentials/${provider}`, { method: 'PUT', body: { token } })
  }

  /**
   * @param {Provider} provider
   * @returns {Promise<Credential>}
   */
  forgetToken(provider) {
    return this.#json(`/credentials/${provider}`, { method: 'DELETE' })
  }

  /**
   * @param {Provider} provider
   * @param {string | null} url a file that should be to be had with the token
   * @returns {Promise<CredentialCheck>}
   */
  checkToken(provider, url) {
    return this.#json(`/credentials/${provider}/check`, { method: 'POST', body: { url } })
  }

  /**
   * @param {string} path
   * @param {{ method?: string, body?: object, form?: FormData, signal?: AbortSignal }} [options]
   * @returns {Promise<any>}
   */
  async #json(path, options) {
    const response = await this.#send(path, options)
    try {
      return await response.json()
    } catch (error) {
      if (isAbort(error)) throw error
      throw new ApiError('CUT_OFF', '', response.status)
    }
  }

  /**
   * @param {string} path
   * @param {{ method?: string, body?: object, form?: FormData, signal?: AbortSignal }} [options]
   * @returns {Promise<Response>}
   */
  async #send(path, { method = 'GET', body, form, signal } = {}) {
    const headers = body ? { ...MARK, 'Content-Type': 'application/json' } : { ...MARK }
    /** @type {Response} */
    let response
    try {
      response = await this.fetch(ROOT + path, {
        method,
        headers,
        body: body ? JSON.stringify(body) : form,
        signal
      })
    } catch (error) {
      if (isAbort(error) || signal?.aborted) throw new DOMException('Aborted', 'AbortError')
      throw new ApiError('NO_ANSWER', '', 0)
    }
    if (response.ok) return response
    const answer = await response.json().catch(() => null)
    const { code, message } = answer?.error ?? {}
    // A 404 without our error body comes from a server that does not know our routes.
    throw new ApiError(code ?? 'NO_ANSWER', message ?? '', response.status)
  }
}
