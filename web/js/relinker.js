// @ts-check

import { problemOf } from './client.js'

/** @import { Row } from '../types/state' */
/** @import { Store } from './store.js' */

/** Sets nodes to files that are already here, and says where that could not be done. */
export class Relinker {
  /** @param {Store} store */
  constructor(store) {
    this.store = store
  }

  /** @param {Row[]} rows all of them in one step of undo */
  async run(rows) {
    const { state, host } = this.store
    const todo = rows.flatMap(({ id, model, replacement }) =>
      replacement
        ? [{ id, item: { references: model.references, folder: replacement.folder, name: replacement.name } }]
        : []
    )
    if (!host.relink || todo.length === 0 || state.relinking) return
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
