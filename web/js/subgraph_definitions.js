// @ts-check

// The editor keeps the definitions of all node types, and adds one for each subgraph of the workflow it opens.
// When it reads the definitions anew (R key, another language, files that came), it replaces them all by what
// the server has, and the subgraphs' are gone: 1.45 then puts a warning on the Run button, as of nodes that are
// not installed.

/** @import { Graph, GraphNode, NodeDefinition } from '/scripts/app.js' */

/**
 * Puts back what is missing of the graph's subgraphs.
 *
 * @param {NodeDefinition[]} definitions those the editor is about to keep; changed in place
 * @param {Graph | null} graph the root
 */
export function keepSubgraphs(definitions, graph) {
  const known = new Set(definitions.map(({ name }) => name))
  for (const node of subgraphNodes(graph)) {
    const definition = node.constructor.nodeData
    if (definition && !known.has(definition.name)) {
      known.add(definition.name)
      definitions.push(definition)
    }
  }
}

/**
 * One node of each subgraph that is used, at whatever depth.
 *
 * @param {Graph | null} graph
 * @param {Set<Graph>} seen
 * @returns {Generator<GraphNode, void, void>}
 */
function* subgraphNodes(graph, seen = new Set()) {
  for (const node of graph?.nodes ?? []) {
    if (!node.subgraph || seen.has(node.subgraph)) continue
    seen.add(node.subgraph)
    yield node
    yield* subgraphNodes(node.subgraph, seen)
  }
}
