// @ts-check

// What the editor was handed when it opened a workflow. An editor whose nodes have other widgets than the
// workflow was saved with puts the values into the wrong ones, and serialises them so; until the user
// changes such a node, what counts is what the file says. Knows graphs only as the JSON of the UI format.

/** @typedef {Record<string, any>} Json a node, a graph or a whole workflow */

/**
 * What stands behind the states that a workflow in the editor has been in.
 *
 * @typedef {{
 *   nodes: Map<string, Json>,
 *   whole: Map<string, Json>,
 *   models: unknown[] | undefined,
 *   last: Load | null
 * }} History
 * `nodes`, `whole`: what was loaded, by what the editor made of it; `models`: the list at the workflow's top
 * level, which the editor's graph drops; `last`: the load that was entered last
 */

/** @typedef {{ handed: Json, settled: Json | null }} Load `settled`: how the editor serialises it */

/** Of whole workflows this many are kept for each that is open: the one loaded and a few steps of undo. */
const KEPT = 8
const ROOT = ''

/**
 * The editor loads a workflow when a file is opened, but also for every undo and whenever a tab is switched
 * to; then it is handed its own serialisation. What that stands for is known by the node's content, as long
 * as it is the same open workflow: `owner` is any object that stays the same for it and is not shared.
 */
export class LoadedGraphs {
  constructor() {
    /** @type {WeakMap<object, History>} */
    this.histories = new WeakMap()
    /** @type {Load | null} */
    this.load = null
  }

  /**
   * A workflow is about to be loaded.
   *
   * @param {Json} workflow as it was handed to the editor
   * @param {object | null} owner the workflow that is still open
   */
  begin(workflow, owner) {
    this.#enter(owner)
    this.load = { handed: copy(workflow ?? {}), settled: null }
  }

  /**
   * The graph has been built.
   *
   * @param {Json} live the editor's serialisation
   */
  settle(live) {
    // Some graphs (API format, A1111) are built without a workflow to hand over.
    if (this.load?.settled) this.load = null
    else if (this.load) this.load.settled = copy(live)
  }

  /**
   * The load is over; the hooks of other extensions may have changed nodes once more.
   *
   * @param {Json} live
   * @param {object | null} owner
   */
  end(live, owner) {
    if (this.load) this.load.settled = copy(live)
    this.#enter(owner)
  }

  /**
   * The workflow as it was loaded, with what the user has changed since.
   *
   * @param {Json} live
   * @param {object | null} owner
   * @returns {Json}
   */
  origin(live, owner) {
    this.#enter(owner)
    const history = owner && this.histories.get(owner)
    return history ? originOf(history, live) : live
  }

  /**
   * Tells the nodes that are as they were loaded; for what was made of them, see above.
   *
   * @param {Json} live
   * @param {object | null} owner
   * @returns {(scope: string, id: string | number) => boolean} `scope`: id of the subgraph, empty for the root
   */
  untouched(live, owner) {
    this.#enter(owner)
    const nodes = (owner && this.histories.get(owner)?.nodes) ?? new Map()
    const keyOf = nodeKeys(live)
    const found = new Set(
      scopes(live).flatMap(([scope, graph]) =>
        listOf(graph.nodes)
          .filter((node) => nodes.has(keyOf(scope, node)))
          .map((node) => `${scope} ${node.id}`)
      )
    )
    return (scope, id) => found.has(`${scope} ${id}`)
  }

  /** @param {object | null} owner */
  #enter(owner) {
    const { load } = this
    if (!owner || !load?.settled) return
    const known = this.histories.get(owner)
    if (known?.last === load) return
    /** @type {History} */
    const history = known ?? { nodes: new Map(), whole: new Map(), models: undefined, last: null }
    if (Array.isArray(load.handed.models)) history.models = load.handed.models
    const origin = originOf(history, load.handed)
    history.last = load
    remember(history, origin, load.settled)
    this.histories.set(owner, history)
  }
}

/**
 * @param {History} history
 * @param {Json} state of the graph
 * @returns {Json}
 */
function originOf(history, state) {
  const whole = history.whole.get(graphKey(state))
  if (whole) return whole
  const definitions = state.definitions?.subgraphs
  const keyOf = nodeKeys(state)
  return {
    ...state,
    ...(history.models && { models: history.models }),
    nodes: nodesOf(history, keyOf, ROOT, state),
    ...(Array.isArray(definitions) && {
      definitions: {
        ...state.definitions,
        subgraphs: definitions.map((graph) => ({ ...graph, nodes: nodesOf(history, keyOf, graph.id, graph) }))
      }
    })
  }
}

/**
 * @param {History} history
 * @param {KeyOf} keyOf
 * @param {string} scope
 * @param {Json} graph
 * @returns {Json[]}
 */
function nodesOf({ nodes }, keyOf, scope, graph) {
  return listOf(graph.nodes).map((node) => {
    const origin = nodes.get(keyOf(scope, node))
    return origin ? connected(origin, node) : node
  })
}

/**
 * A node as it was loaded, with the wires it has now and whether it takes part in a run.
 *
 * @param {Json} origin
 * @param {Json} live
 * @returns {Json}
 */
function connected(origin, live) {
  const wires = new Map(listOf(live.inputs).map((input) => [input.name, input.link ?? null]))
  const inputs = listOf(origin.inputs).map((input) => ({ ...input, link: wires.get(input.name) ?? null }))
  const listed = new Set(listOf(origin.inputs).map(({ name }) => name))
  const added = listOf(live.inputs).filter(({ name, link }) => !listed.has(name) && isId(link))
  return { ...origin, id: live.id, mode: live.mode, inputs: [...inputs, ...added] }
}

/**
 * @param {History} history
 * @param {Json} origin
 * @param {Json} settled
 */
function remember(history, origin, settled) {
  const keyOf = nodeKeys(settled)
  const before = new Map(scopes(origin))
  const moved = new Set(
    scopes(settled).flatMap(([scope, graph]) => {
      const loaded = before.get(scope)
      return loaded && idsOf(loaded) !== idsOf(graph) ? [scope] : []
    })
  )
  for (const [scope, graph] of scopes(settled)) {
    const loaded = new Map(listOf(before.get(scope)?.nodes).map((node) => [String(node.id), node]))
    for (const node of listOf(graph.nodes)) {
      const key = keyOf(scope, node)
      const first = loaded.get(String(node.id))
      // An instance of a subgraph whose ids the editor has moved would point at the wrong nodes.
      if (!first || first.type !== node.type || moved.has(node.type) || history.nodes.has(key)) continue
      history.nodes.set(key, first)
    }
  }
  const key = graphKey(settled)
  if (moved.size > 0 || history.whole.has(key)) return
  history.whole.set(key, origin)
  const [oldest] = history.whole.keys()
  if (history.whole.size > KEPT) history.whole.delete(oldest)
}

/**
 * The root graph and the definitions of subgraphs, by id.
 *
 * @param {Json} workflow
 * @returns {[string, Json][]}
 */
function scopes(workflow) {
  return [
    [ROOT, workflow],
    ...listOf(workflow.definitions?.subgraphs).map(
      (graph) => /** @type {[string, Json]} */ ([graph.id, graph])
    )
  ]
}

/**
 * Equal for states of a node that differ only in looks, wires and whether it takes part.
 *
 * @typedef {(scope: string, node: Json) => string} KeyOf
 */

/**
 * @param {Json} workflow whose nodes are asked about
 * @returns {KeyOf}
 */
function nodeKeys(workflow) {
  const definitions = new Map(scopes(workflow))
  return (scope, node) => nodeKey(definitions, scope, node)
}

/**
 * @param {Map<string, Json>} definitions
 * @param {string} scope
 * @param {Json} node
 * @returns {string}
 */
function nodeKey(definitions, scope, node) {
  const { id, type, widgets_values, widgets_values_named, properties, inputs } = node
  const slots = listOf(inputs).map(({ name, widget }) => [name, widget?.name])
  const stated = [properties?.models, properties?.proxyWidgets]
  const held = heldInside(definitions, node)
  return JSON.stringify([scope, String(id), type, widgets_values, widgets_values_named, stated, slots, held])
}

/**
 * Older editors (seen in 1.45.21) keep no values in an instance of a subgraph: what its widgets show stands in
 * the nodes inside, and changes there.
 *
 * @param {Map<string, Json>} definitions
 * @param {Json} node
 * @returns {string[]} keys of those nodes
 */
function heldInside(definitions, { type, widgets_values, properties }) {
  const graph = definitions.get(type)
  const proxies = properties?.proxyWidgets
  if (!graph || !Array.isArray(proxies) || widgets_values?.length > 0) return []
  const shown = new Set(proxies.map((proxy) => String(proxy?.[0])))
  // Without itself: a file may claim that a subgraph contains itself.
  const others = new Map([...definitions].filter(([id]) => id !== type))
  return listOf(graph.nodes)
    .filter((inner) => shown.has(String(inner.id)))
    .map((inner) => nodeKey(others, type, inner))
}

/** @param {Json} workflow */
function graphKey(workflow) {
  const keyOf = nodeKeys(workflow)
  return JSON.stringify(
    scopes(workflow).map(([scope, graph]) => [
      listOf(graph.nodes).map((node) => [
        keyOf(scope, node),
        node.mode ?? 0,
        listOf(node.inputs).map(({ link }) => link ?? null)
      ]),
      graph.links,
      scope === ROOT ? null : listOf(graph.inputs).map(({ name, linkIds }) => [name, linkIds])
    ])
  )
}

/** @param {Json} graph */
function idsOf(graph) {
  return listOf(graph.nodes)
    .map(({ id }) => String(id))
    .sort()
    .join()
}

/**
 * @param {unknown} value
 * @returns {Json[]} its objects; none if it is not a list
 */
function listOf(value) {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'object' && entry !== null) : []
}

/** @param {unknown} value */
function isId(value) {
  return value !== null && value !== undefined
}

/**
 * @param {Json} value
 * @returns {Json}
 */
function copy(value) {
  return JSON.parse(JSON.stringify(value))
}
