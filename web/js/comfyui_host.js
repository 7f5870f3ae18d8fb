// @ts-check

import { LoadedGraphs } from './loaded.js'
import { decidingPlaces, nodePath, offeredAt, ownPlace, setPlace, spelledAs, statedAt } from './relink.js'

/** @import { app as App, Graph, GraphNode } from '/scripts/app.js' */
/** @import { api as Api } from '/scripts/api.js' */
/** @import { Host, Relink, RelinkOutcome } from '../types/host' */
/** @import { Place } from './relink.js' */

export const TAB = 'model-resolver'
const TOAST_MS = 6000

/**
 * To be called from the editor's hooks of these names.
 *
 * @typedef {{
 *   beforeConfigureGraph(workflow: object): void,
 *   afterConfigureGraph(): void,
 *   afterLoadGraph(): void
 * }} LoadingHooks
 */

/**
 * The panel's host inside ComfyUI's editor. `app` and `api` are handed in: only the entry module imports them.
 *
 * @param {typeof App} app
 * @param {typeof Api} api
 * @returns {Host & { loading: LoadingHooks }}
 */
export function createComfyHost(app, api) {
  const loaded = new LoadedGraphs()
  const rootGraph = () => app.rootGraph ?? app.graph ?? null
  const serialized = () => rootGraph()?.serialize() ?? {}
  /** Kept by the editor for as long as a workflow is open, whatever is done to its graph. */
  const openWorkflow = () => app.extensionManager.workflow?.activeWorkflow?.changeTracker ?? null
  const listenTo = (api.addCustomEventListener ?? api.addEventListener).bind(api)

  async function redraw() {
    // The outlines are drawn from flags that are set once Vue has come round to it.
    await nextFrame()
    app.canvas?.setDirty(true, true)
  }

  return {
    kind: 'comfyui',
    fetch: (path, init) => api.fetchApi(path, init),

    listen(events) {
      listenTo('model-resolver.download', (event) => events.download(event.detail))
      listenTo('model-resolver.library', ({ detail }) => {
        if (detail?.hashing) events.hashing(detail.hashing)
        else events.library()
      })
      api.addEventListener('reconnected', () => events.reconnected())
    },

    workflow() {
      return rootGraph() && loaded.origin(serialized(), openWorkflow())
    },

    loading: {
      beforeConfigureGraph: (workflow) => loaded.begin(workflow, openWorkflow()),
      afterConfigureGraph: () => loaded.settle(serialized()),
      afterLoadGraph: () => loaded.end(serialized(), openWorkflow())
    },

    // The editor's own way, which also knows files that hold only a prompt.
    openFile: app.handleFile && (async (file) => void (await app.handleFile?.(file))),

    locale() {
      return String(app.extensionManager.setting.get('Comfy.Locale') ?? navigator.language)
    },

    nodeTitle({ node_id, node_type }) {
      const node = nodePath(rootGraph(), node_id)?.at(-1)
      return node ? (node.title ?? node.type ?? node_type) : null
    },

    locate(nodeId) {
      void locate(app, rootGraph(), nodeId)
    },

    async modelsChanged() {
      await refreshCombos(app)
      await redraw()
    },

    async relink(items) {
      const untouched = loaded.untouched(serialized(), openWorkflow())
      /** @param {GraphNode} node */
      const asLoaded = ({ graph, id }) =>
        untouched(!graph || graph === rootGraph() ? '' : (graph.id ?? ''), id)
      const plans = () => Promise.all(items.map((item) => planned(api, rootGraph(), item, asLoaded)))
      let plan = await plans()
      if (plan.includes('not_listed')) {
        await refreshCombos(app)
        plan = await plans()
      }
      const changes = plan.flatMap((steps) => (typeof steps === 'string' ? [] : steps))
      if (changes.length > 0) {
        inOneStep(app, () => {
          for (const { place, value, folder } of changes) setPlace(place, value, folder, app.canvas)
        })
        await redraw()
      }
      return plan.map((steps) => (typeof steps === 'string' ? steps : 'done'))
    },

    settle(references) {
      for (const { node_id, input } of references) {
        const errors = app.extensionManager.lastNodeErrors?.[node_id]?.errors ?? []
        if (!errors.some((error) => error.extra_info?.input_name === input)) continue
        // What a refused Run left behind goes when its input changes; to the editor, it just did.
        const node = nodePath(rootGraph(), node_id)?.at(-1)
        const widget = node?.widgets?.find(({ name }) => name === input)
        if (widget) node?.onWidgetChanged?.(input, widget.value, widget.value, widget)
      }
    },

    notify(kind, title, text) {
      const { toast } = app.extensionManager
      const show = toast[kind]
      if (show) show.call(toast, title, { description: text, duration: TOAST_MS })
      else toast.add?.({ severity: kind, summary: title, detail: text, life: TOAST_MS })
    },

    close() {
      app.extensionManager.sidebarTab?.toggleSidebarTab(TAB)
    }
  }
}

/**
 * @param {typeof App} app
 * @returns {Promise<void>}
 */
async function refreshCombos(app) {
  // `refreshComboInNodes` alone leaves the rows and outlines of ComfyUI's own missing-models check.
  if (app.refreshMissingModels) await app.refreshMissingModels({ silent: true, reloadDefs: true })
  else await app.refreshComboInNodes()
}

/**
 * All or nothing: what to set so that each reference of an item names the file.
 *
 * @param {typeof Api} api
 * @param {Graph | null} graph
 * @param {Relink} item
 * @param {(node: GraphNode) => boolean} asLoaded see `decidingPlaces`
 * @returns {Promise<{ place: Place, value: string, folder: string }[] | Exclude<RelinkOutcome, 'done'>>}
 */
async function planned(api, graph, { references, folder, name }, asLoaded) {
  const steps = []
  for (const reference of references) {
    const places = decidingPlaces(graph, reference, asLoaded)
    const own = ownPlace(graph, reference)
    if (!own || places.length === 0) return 'no_place'
    const offered = offeredAt(own) ?? offeredAt(places[0]) ?? (await listed(api, folder))
    const entry = spelledAs(offered, name)
    if (entry === null) return 'not_listed'
    for (const place of places) {
      steps.push({ place, value: statedAt(place, reference.value, entry, offered, folder), folder })
    }
  }
  return steps
}

/**
 * What ComfyUI lists in a folder: what widgets that hold more than a name choose from.
 *
 * @param {typeof Api} api
 * @param {string} folder
 * @returns {Promise<string[]>}
 */
async function listed(api, folder) {
  const response = await api.fetchApi(`/models/${encodeURIComponent(folder)}`)
  return response.ok ? response.json() : []
}

/**
 * Makes changes to the graph that one undo takes back.
 *
 * @param {typeof App} app
 * @param {() => void} change
 */
function inOneStep(app, change) {
  const tracker = app.extensionManager.workflow?.activeWorkflow?.changeTracker
  const begin = () => (tracker ? tracker.beforeChange() : app.canvas?.emitBeforeChange?.())
  const end = () => (tracker ? tracker.afterChange() : app.canvas?.emitAfterChange?.())
  // What has changed before and was not recorded yet is no part of this step.
  begin()
  end()
  begin()
  try {
    change()
  } finally {
    end()
  }
}

/** @returns {Promise<unknown>} */
function nextFrame() {
  // Frames stop while the page is hidden; downloads do not.
  return new Promise((resolve) => (document.hidden ? setTimeout(resolve) : requestAnimationFrame(resolve)))
}

/**
 * Opens the subgraphs on the way and centres the canvas on the node.
 *
 * @param {typeof App} app
 * @param {Graph | null} graph
 * @param {string} nodeId
 */
async function locate(app, graph, nodeId) {
  const { canvas } = app
  const path = nodePath(graph, nodeId)
  const node = path?.at(-1)
  if (!canvas || !graph || !path || !node) return
  const holder = path.at(-2)
  const target = holder?.subgraph ?? graph
  if (canvas.graph !== target) {
    if (holder && canvas.openSubgraph) canvas.openSubgraph(target, holder)
    else canvas.setGraph?.(target)
    // The canvas measures the nodes of a graph it has just opened while it draws them.
    await nextFrame()
    await nextFrame()
  }
  canvas.selectNode?.(node)
  if (canvas.animateToBounds && node.boundingRect) canvas.animateToBounds(node.boundingRect)
  else canvas.centerOnNode(node)
  canvas.setDirty(true, true)
}
