// @ts-check

import { problemOf } from './client.js'
import { isRunning, neededModels } from './rows.js'
import { coalesce } from './timing.js'

/** @import { Download, DownloadItem } from '../types/contract' */
/** @import { Store } from './store.js' */

/** Several files often complete within moments; the graph is refreshed once for all of them. */
const REFRESH_AFTER = 600

/** The downloads of a store: takes their events in, and starts, pauses, cancels them. */
export class DownloadBook {
  /** @param {Store} store */
  constructor(store) {
    this.store = store
    this.client = store.client
    this.state = store.state
    this.refreshSoon = coalesce(() => this.#refresh(), REFRESH_AFTER)
  }

  /**
   * Takes in the newest state of a download.
   *
   * @param {Download} download
   */
  accept(download) {
    const before = this.state.downloads.get(download.id)
    this.state.downloads.set(download.id, download)
    if (isRunning(download)) this.#addToBatch(download.id)
    if (download.status === 'completed' && before?.status !== 'completed') {
      this.state.completedAt.set(download.id, Date.now())
      this.refreshSoon()
    }
    if (download.status === 'failed' && before && isRunning(before)) this.#tellFailure(download)
    this.store.changed()
  }

  /** Asks the server for all downloads: after a reload, or when events may have been missed. */
  async restore() {
    /** @type {Download[]} */
    let all
    try {
      all = await this.client.downloads()
    } catch {
      return
    }
    const { downloads } = this.state
    const known = new Set(all.map((download) => download.id))
    for (const id of downloads.keys()) if (!known.has(id)) downloads.delete(id)
    for (const download of all) {
      const before = downloads.get(download.id)
      // What we saw running and now find completed did so unseen; the rest is history.
      if (before || isRunning(download)) this.accept(download)
      else downloads.set(download.id, download)
    }
    this.store.changed()
  }

  /** @param {DownloadItem[]} items */
  async start(items) {
    this.state.starting = true
    await this.#act(async () => {
      for (const download of await this.client.start(items)) {
        if (!this.state.downloads.has(download.id)) this.accept(download)
      }
    })
    this.state.starting = false
    this.store.changed()
  }

  /**
   * @param {string} id
   * @param {'pause' | 'resume' | 'cancel' | 'retry'} verb
   */
  async control(id, verb) {
    await this.#act(async () => {
      const before = this.state.downloads.get(id)
      const answer = await this.client.control(id, verb)
      // An event may have overtaken the answer, and knows more.
      if (this.state.downloads.get(id) === before) this.accept(answer)
    })
  }

  /** @param {'pause' | 'resume' | 'cancel'} verb */
  async controlAll(verb) {
    await this.#act(async () => {
      await this.client.controlAll(verb)
      await this.restore()
    })
  }

  /** @param {string} id of a finished download */
  async forget(id) {
    this.state.downloads.delete(id)
    this.store.changed()
    await this.client.forget(id).catch(() => {})
  }

  /** @param {() => Promise<void>} action */
  async #act(action) {
    this.state.actionProblem = null
    try {
      await action()
    } catch (error) {
      this.state.actionProblem = problemOf(error)
    }
    this.store.changed()
  }

  /** @param {string} id */
  #addToBatch(id) {
    const { batch, downloads } = this.state
    const over = [...batch].every((other) => {
      const download = downloads.get(other)
      return other !== id && (!download || !isRunning(download))
    })
    if (over) batch.clear()
    batch.add(id)
  }

  async #refresh() {
    await this.store.host.modelsChanged?.()
    if (this.state.phase === 'idle') return
    await this.store.scan()
    const { i18n, host, viewers } = this.store
    if (viewers > 0 || [...this.state.downloads.values()].some(isRunning)) return
    const left = neededModels(this.state.graph ?? this.state.analysis).length
    const text = left === 0 ? i18n.t('toast.ready') : i18n.t('toast.left', { n: left })
    host.notify?.('success', i18n.t('toast.done'), text)
  }

  /** @param {Download} download */
  #tellFailure(download) {
    const { i18n, host, viewers } = this.store
    if (viewers > 0) return
    const { code = '', message = '' } = download.error ?? {}
    const text = i18n.has(`errors.${code}`) ? i18n.t(`errors.${code}`) : message
    host.notify?.('error', i18n.t('toast.failed', { name: download.filename }), text)
  }
}
