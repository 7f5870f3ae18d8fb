// @ts-check

/** Looks like a file name: that is all a model input can hold that concerns us. */
const FILE = /\.[a-z][a-z0-9]{1,11}$/i

/**
 * A string that changes when the workflow may want other models, or others of its nodes take part, and
 * stays the same when nodes are moved or prompts and seeds are edited.
 *
 * @param {any} workflow in ComfyUI's UI format
 * @returns {string}
 */
export function fingerprint(workflow) {
  const graphs = [workflow, ...(workflow?.definitions?.subgraphs ?? [])]
  return JSON.stringify(
    graphs.map((graph) => [
      (graph?.nodes ?? []).map((/** @type {any} */ node) => [
        node.id,
        node.type,
        node.mode,
        fileNames(node.widgets_values),
        node.properties?.models
      ]),
      graph?.links
    ])
  )
}

/**
 * @param {unknown} values
 * @returns {string[]}
 */
function fileNames(values) {
  if (typeof values === 'string') return FILE.test(values) ? [values] : []
  if (values === null || typeof values !== 'object') return []
  return Object.values(values).flatMap(fileNames)
}
