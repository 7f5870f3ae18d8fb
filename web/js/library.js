// @ts-check

// The files on the server by their content: they are read ("hashed") in the background at the user's word,
// and known afterwards under any name.

import { problemOf } from './client.js'
import { neededModels } from './rows.js'

/** @import { Hashing } from '../types/contract' */
/** @import { Store } from './store.js' */

export const LIBRARY_KEY = 'section:library'

/** How long after one look at the workflow the next is due while files are still read, ms. */
const LOOK_MS = 5000

export class Library {
  /** @param {Store} store */
  constructor(store) {
    this.store = store
    this.client = store.client
    this.state = store.state.library
    this.look = { at: 0, done: 0 }
  }

  /** Asks how far it is: after a reload, or when events may have been missed. */
  async restore() {
    if (this.store.state.open.has(LIBRARY_KEY)) return this.load()
    await this.#ask(this.client.hashing()).catch(() => {})
    this.store.changed()
  }

  /** Asks for what the view shows, while it is unfolded. */
  async load() {
    const { state, client, store } = this
    if (store.state.open.has(LIBRARY_KEY)) {
      try {
        const [duplicates] = await Promise.all([client.duplicates(), this.#ask(client.hashing())])
        Object.assign(state, { duplicates, problem: null })
      } catch (error) {
        state.problem = problemOf(error)
      }
    }
    store.changed()
  }

  /** Folds the view, or unfolds it with what is known now. */
  async toggle() {
    this.store.toggle(LIBRARY_KEY)
    await this.load()
  }

  /**
   * Takes in how far hashing is.
   *
   * @param {Hashing} hashing
   */
  accept(hashing) {
    const ended = hashing.state === 'idle'
    this.state.hashing = hashing
    this.store.changed()
    if (ended || this.#mayHaveFoundOne(hashing)) {
      this.look = { at: Date.now(), done: ended ? 0 : hashing.done }
      this.store.libraryChanged()
    }
  }

  /** @param {'start' | 'pause' | 'resume' | 'cancel'} action */
  async control(action) {
    const { state, client, store } = this
    if (state.busy) return
    Object.assign(state, { busy: true, problem: null })
    if (action === 'start') this.look = { at: Date.now(), done: 0 }
    store.changed()
    try {
      await this.#ask(client.controlHashing(action))
    } catch (error) {
      state.problem = problemOf(error)
    }
    state.busy = false
    store.changed()
  }

  /** @param {Promise<Hashing>} answer */
  async #ask(answer) {
    const { state } = this
    const before = state.hashing
    const hashing = await answer
    // An event may have overtaken the answer, and knows more.
    if (state.hashing === before) state.hashing = hashing
  }

  /**
   * Whether it is time to look if a missing model turned out to be here: a run may take hours, and reads
   * first what may be wanted.
   *
   * @param {Hashing} hashing
   */
  #mayHaveFoundOne({ done }) {
    const { phase, search, analysis } = this.store.state
    return (
      done > this.look.done &&
      Date.now() - this.look.at >= LOOK_MS &&
      phase === 'ready' &&
      // It would begin anew.
      !search.running &&
      neededModels(analysis).some((model) => model.status === 'missing' && model.sha256)
    )
  }
}
