// @ts-check

import { problemOf } from './client.js'

/** @import { Alternative } from '../types/contract' */
/** @import { Row } from '../types/state' */
/** @import { Store } from './store.js' */

/** Sets nodes to files that are already here, and says where that could not be done. */
export class Relinker {
  /** @param {Store} store */
  constructor(store) {
    this.store = store
  }

  /** @param {Row[]} rows each to be set to its `replacement`, all of them in one step of undo */
  async run(rows) {
    await this.#run(rows.flatMap((row) => (row.replacement ? [[row, row.replacement]] : [])))
  }

  /**
   * @param {Row} row
   * @param {Alternative} alternative
   */
  async use(row, alternative) {
    await this.#run([[row, alternative]])
  }

  /** @param {[Row, Alternative][]} pairs */
  async #run(pairs) {
    const { state, host } = this.store
    const todo = pairs.map(([{ id, model }, { folder, name }]) => ({
      id,
      item: { references: model.references, folder, name }
    }))
    // The nodes of a file are not those on the canvas.
    if (!host.relink || state.file || todo.length === 0 || state.relinking) return
    state.relinking = true
    state.actionProblem = null
    this.store.changed()
    try {
      const outcomes = await host.relink(todo.map(({ item }) => item))
      if (outcomes.includes('done')) await this.store.scan()
      todo.forEach(({ id }, index) => {
        if (outcomes[index] === 'done') state.relinkProblems.delete(id)
        else state.relinkProblems.set(id, outcomes[index])
      })
    } catch (error) {
      state.actionProblem = problemOf(error)
    }
    state.relinking = false
    this.store.changed()
  }
}
