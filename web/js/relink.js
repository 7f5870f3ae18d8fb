// @ts-check

// Which widgets of the editor's graph hold the value of a reference, and how to set them. Knows the graph
// only by what it is handed: no `app`, no server.

import { hasTag, retagged } from './prompt_tags.js'

/** @import { Graph, GraphNode, NodeInput, Widget } from '/scripts/app.js' */
/** @import { Reference } from '../types/contract' */

/**
 * A value to set: a widget's own, or (`path`) a text inside the object or list that it holds. `tag`: only the
 * tags of that name in the text are.
 *
 * @typedef {{ node: GraphNode, widget: Widget, path: string[], tag?: string }} Place
 */

/** Stands for the inputs of the subgraph itself. */
const SUBGRAPH_INPUT = -10
const MAX_STEPS = 100
const MODEL_EXTENSION = /\.(?:safetensors|sft|ckpt|pt2?|pth|bin|pkl|gguf|onnx)$/i
/** What is set by a name is taken wherever that name is got (KJNodes, Easy-Use). */
const SETS = /^(?:SetNode|easy setNode)$/
const GETS = /^(?:GetNode|easy getNode)$/

/**
 * The nodes an execution id such as `433:37` leads through, the last one being the node itself.
 *
 * @param {Graph | null | undefined} graph
 * @param {string} nodeId
 * @returns {GraphNode[] | null}
 */
export function nodePath(graph, nodeId) {
  /** @type {GraphNode[]} */
  const path = []
  for (const id of nodeId.split(':')) {
    const node = graph?.getNodeById(id) ?? graph?.getNodeById(Number(id))
    if (!node) return null
    path.push(node)
    graph = node.subgraph ?? null
  }
  return path
}

/**
 * The widget a reference names, as the node itself has it. What it offers is what the node accepts.
 *
 * @param {Graph | null} graph the root
 * @param {Reference} reference
 * @returns {Place | null}
 */
export function ownPlace(graph, { node_id, input, value }) {
  const node = nodePath(graph, node_id)?.at(-1)
  // What stands in for a node that is not installed shows its values, but saves those it was loaded with.
  if (!node || node.last_serialization) return null
  const found = candidatePlaces(node, input)
  const holding = found.find((place) => valueAt(place) === value)
  return holding ?? found.find((place) => hasTag(valueAt(place), value)) ?? found[0] ?? null
}

/**
 * The places that decide what a run takes for a reference, all of which hold its value: the node's own
 * widget; for a promoted one the outermost host's; for one that a PrimitiveNode feeds both; for one that a
 * text is wired to, the node with the text. Where that is a longer text, the tags in it are the place.
 *
 * @param {Graph | null} graph the root
 * @param {Reference} reference
 * @param {(node: GraphNode) => boolean} asLoaded whether it is untouched since it was loaded: then its
 *   widget of that name is meant, even if the editor has put the value into another
 * @returns {Place[]} empty if there are none, or they no longer hold that value
 */
export function decidingPlaces(graph, reference, asLoaded) {
  const own = ownPlace(graph, reference)
  const path = nodePath(graph, reference.node_id)
  if (!graph || !own || !path) return []
  const places = followed({ graph, hosts: path.slice(0, -1), value: reference.value, steps: 0 }, own)
  if (places.length === 0) return []
  if (valueAt(places[0]) === reference.value) return places
  const tagged = places.filter((place) => hasTag(valueAt(place), reference.value))
  if (tagged.length > 0) return tagged.map((place) => ({ ...place, tag: reference.value }))
  // What is no list to choose from may be a text of the user's, of which a name is but a part.
  const may = places.length === 1 && offeredAt(own) !== null && own.widget.name === reference.input
  return may && asLoaded(places[0].node) ? places : []
}

/**
 * @param {Place} place
 * @returns {unknown}
 */
export function valueAt({ widget, path }) {
  return path.reduce((/** @type {any} */ value, key) => unwrapped(value, key)?.[key], widget.value)
}

/**
 * The names a widget offers; null if it is not one to choose from.
 *
 * @param {Place} place
 * @returns {string[] | null}
 */
export function offeredAt({ node, widget, path }) {
  if (path.length > 0) return null
  const values = widget.options?.values
  const list = typeof values === 'function' ? values(widget, node) : values
  return Array.isArray(list) ? list.filter((entry) => typeof entry === 'string') : null
}

/**
 * The entry of a list that names a file, in the list's own spelling: on Windows with backslashes.
 *
 * @param {readonly string[]} offered
 * @param {string} name with slashes
 * @returns {string | null}
 */
export function spelledAs(offered, name) {
  return offered.find((entry) => entry === name) ?? offered.find((entry) => folded(entry) === name) ?? null
}

/**
 * How a place states a file: as the list does; prompts and stacks that leave out extensions go without, and,
 * but for embeddings, without directories where no other file is called so.
 *
 * @param {Place} place
 * @param {string} before what it states now
 * @param {string} entry of the list
 * @param {readonly string[]} offered
 * @param {string} folder of the file
 */
export function statedAt(place, before, entry, offered, folder) {
  if (offeredAt(place) !== null || MODEL_EXTENSION.test(before)) return entry
  const stem = stemOf(entry)
  const last = lastOf(stem)
  const others = offered.filter((other) => lastOf(stemOf(other)) === last)
  return folder !== 'embeddings' && others.length === 1 ? last : stem
}

/**
 * Sets a place as if the user had.
 *
 * @param {Place} place
 * @param {string} name
 * @param {string} folder of the file
 * @param {unknown} canvas handed on to the widget's callback
 */
export function setPlace(place, name, folder, canvas) {
  const { node, widget, path, tag } = place
  const value = tag === undefined ? name : retagged(String(valueAt(place)), tag, name, folder)
  if (valueAt(place) === value) return
  const before = widget.value
  widget.value = path.length > 0 ? withText(before, path, value) : value
  // A widget that hands out its object but takes none: then the object itself is what to change.
  if (path.length > 0 && valueAt(place) !== value) putText(widget.value, path, value)
  widget.callback?.(widget.value, canvas, node)
  node.onWidgetChanged?.(widget.name, widget.value, before, widget)
  node.setDirtyCanvas?.(true, true)
}

/**
 * @typedef {{ graph: Graph, hosts: GraphNode[], value: string, steps: number }} Walk
 * `graph`: the root; `hosts`: the subgraph nodes that the node at hand is in, the outermost first
 */

/**
 * @param {Walk} walk
 * @param {Place} place
 * @returns {Place[]}
 */
function followed(walk, place) {
  const slot = place.node.inputs?.find((input) => input.widget?.name === place.widget.name)
  return (slot && source(walk, slot, place)) ?? [place]
}

/**
 * Where a wired input takes its value from.
 *
 * @param {Walk} walk
 * @param {NodeInput} slot
 * @param {Place} place the widget it would be set by without the wire
 * @returns {Place[] | null} null if the wire decides nothing
 */
function source(walk, slot, place) {
  const { hosts, steps, value } = walk
  const graph = hosts.at(-1)?.subgraph ?? walk.graph
  const link = slot.link === null || slot.link === undefined ? null : linkOf(graph, slot.link)
  if (!link || steps > MAX_STEPS) return null
  const next = { ...walk, steps: steps + 1 }

  if (Number(link.origin_id) === SUBGRAPH_INPUT) {
    const host = hosts.at(-1)
    const name = graph.inputs?.[link.origin_slot]?.name
    const outer = host?.inputs?.find((input) => input.name === name)
    if (!host || !outer) return null
    const outside = { ...next, hosts: hosts.slice(0, -1) }
    const widgetName = outer.widget?.name ?? outer.name
    const promoted = host.widgets?.find((widget) => widget.name === widgetName)
    const at = promoted ? { node: host, widget: promoted, path: place.path } : place
    return source(outside, outer, at) ?? (promoted ? [at] : null)
  }

  const origin = graph.getNodeById(link.origin_id)
  if (!origin) return null
  if (origin.type === 'Reroute') {
    const inlet = origin.inputs?.[0]
    return inlet ? source(next, inlet, place) : null
  }
  if (origin.type === 'PrimitiveNode') {
    const widget = origin.widgets?.[0]
    // The primitive goes last: it hands its value on to all it feeds.
    return widget ? [place, { node: origin, widget, path: place.path }] : null
  }
  if (origin.subgraph) {
    const outlet = origin.subgraph.outputs?.[link.origin_slot]?.linkIds?.[0]
    const inside = { ...next, hosts: [...hosts, origin] }
    return source(inside, { name: '', link: outlet }, place) ?? []
  }
  const text = origin.widgets?.find((widget) => widget.value === value || hasTag(widget.value, value))
  if (text) return followed(next, { node: origin, widget: text, path: [] })
  const inlet = inletOf(graph, origin)
  return (inlet && source(next, inlet, place)) ?? []
}

/**
 * The one input of a node that only passes on what it takes; for what is got by a name, that of what is set.
 *
 * @param {Graph} graph
 * @param {GraphNode} node
 * @returns {NodeInput | null}
 */
function inletOf(graph, node) {
  const name = GETS.test(node.type ?? '') ? node.widgets?.[0]?.value : undefined
  const { nodes = [] } = /** @type {Graph & { nodes?: GraphNode[] }} */ (graph)
  const setter = nodes.find((other) => SETS.test(other.type ?? '') && other.widgets?.[0]?.value === name)
  const from = name !== undefined && setter ? setter : node
  const fed = from.inputs?.filter((input) => input.link !== null && input.link !== undefined) ?? []
  return fed.length === 1 ? fed[0] : null
}

/**
 * @param {Graph} graph
 * @param {string | number} id
 */
function linkOf(graph, id) {
  const { links } = graph
  return graph.getLink?.(id) ?? (links instanceof Map ? links.get(id) : links?.[id]) ?? null
}

/**
 * The places that the input of a reference may mean: `lora_name`, or inside a value `lora_1.lora`,
 * `loras.0.name`, `#2.lora` (the third of the values as they are saved).
 *
 * @param {GraphNode} node
 * @param {string} input
 * @returns {Place[]}
 */
function candidatePlaces(node, input) {
  const widgets = node.widgets ?? []
  const position = /^#(\d+)(?:\.(.*))?$/.exec(input)
  if (position) {
    const index = Number(position[1])
    const path = position[2] ? position[2].split('.') : []
    // Frontends differ in whether a widget that is not saved takes a place among the values.
    const saved = widgets.filter((widget) => widget.serialize !== false)
    return [saved[index], widgets[index]].flatMap((widget) => (widget ? [{ node, widget, path }] : []))
  }
  return widgets
    .filter(({ name }) => input === name || input.startsWith(`${name}.`))
    .sort((left, right) => right.name.length - left.name.length)
    .map((widget) => ({
      node,
      widget,
      path: input === widget.name ? [] : input.slice(widget.name.length + 1).split('.')
    }))
}

/** @param {string} name */
function stemOf(name) {
  return folded(name).replace(MODEL_EXTENSION, '')
}

/** @param {string} name */
function lastOf(name) {
  return name.slice(name.lastIndexOf('/') + 1)
}

/** @param {string} name */
function folded(name) {
  return name.replaceAll('\\', '/')
}

/**
 * Exports wrap lists as `{"__value__": […]}`; paths do not count that.
 *
 * @param {any} value
 * @param {string} key
 */
function unwrapped(value, key) {
  const wrapped = typeof value === 'object' && value !== null && '__value__' in value && !(key in value)
  return wrapped ? value.__value__ : value
}

/**
 * An object or list with one text replaced. What lies beside the way to it is not copied: values may be
 * reactive, and hold what cannot be.
 *
 * @param {any} value
 * @param {string[]} path
 * @param {string} text
 * @returns {unknown}
 */
function withText(value, [key, ...rest], text) {
  if (key === undefined) return text
  const inner = unwrapped(value, key)
  if (inner !== value) return { ...value, __value__: withText(inner, [key, ...rest], text) }
  const copy = Array.isArray(value) ? [...value] : { ...value }
  copy[key] = withText(value?.[key], rest, text)
  return copy
}

/**
 * @param {any} value
 * @param {string[]} path
 * @param {string} text
 */
function putText(value, path, text) {
  const keys = [...path]
  const last = keys.pop() ?? ''
  const holder = keys.reduce((inner, key) => unwrapped(inner, key)?.[key], value)
  const target = unwrapped(holder, last)
  if (typeof target === 'object' && target !== null) target[last] = text
}
