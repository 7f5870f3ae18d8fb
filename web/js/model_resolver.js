// @ts-check

// What ComfyUI's frontend loads. It imports every module below this folder; this is the only one that
// registers anything.

import { api } from '/scripts/api.js'
import { app } from '/scripts/app.js'

import { TAB, createComfyHost } from './comfyui_host.js'
import { defineElements } from './panel.js'
import { neededModels } from './rows.js'
import { Store } from './store.js'
import { keepSubgraphs } from './subgraph_definitions.js'

const COMMAND = 'ModelResolver.ResolveMissing'
const SCAN_ON_LOAD = 'ModelResolver.ScanOnLoad'

const host = createComfyHost(app, api)
const store = new Store(host)
const { t } = store.i18n

/** ComfyUI's own icon set where this version carries the icon, else the older font it always has. */
function tabIcon() {
  const lucide = 'icon-[lucide--folder-down]'
  const probe = document.createElement('i')
  probe.className = lucide
  document.body.append(probe)
  const known = getComputedStyle(probe).maskImage !== 'none'
  probe.remove()
  return known ? lucide : 'pi pi-cloud-download'
}

function openPanel() {
  const tabs = app.extensionManager.sidebarTab
  // It is the open workflow that is meant, not a file that was looked at.
  void store.closeFile()
  if (!tabs) void app.extensionManager.command?.execute(`Workspace.ToggleSidebarTab.${TAB}`)
  // An open panel would be closed by a toggle; it searches anew instead.
  else if (tabs.activeSidebarTabId === TAB) void store.rescan()
  else tabs.toggleSidebarTab(TAB)
}

/** @param {HTMLElement} container */
function render(container) {
  const shown = container.firstElementChild
  if (container.childElementCount === 1 && shown?.localName === 'model-resolver-panel') return
  const panel = /** @type {import('./panel.js').ModelResolverPanel} */ (
    document.createElement('model-resolver-panel')
  )
  panel.store = store
  // Files may be dropped on all of the sidebar, however short the list.
  container.style.height = '100%'
  container.replaceChildren(panel)
}

/** @returns {string | null} */
function badge() {
  const { length } = neededModels(store.state.graph)
  return length > 0 ? String(length) : null
}

/** ComfyUI computes a badge once per function: to change it, its tab must get another function. */
function keepTabFresh() {
  let shown = badge()
  store.subscribe(() => {
    const tab = app.extensionManager.getSidebarTabs?.().find(({ id }) => id === TAB)
    const next = badge()
    if (!tab) return
    if (next !== shown) {
      shown = next
      tab.iconBadge = () => next
    }
    // The language may have been switched.
    if (tab.title !== t('title')) Object.assign(tab, { title: t('title'), tooltip: t('action.tooltip') })
  })
}

function workflowLoaded() {
  store.changed()
  if (store.viewers > 0 || app.extensionManager.setting.get(SCAN_ON_LOAD) !== false) store.workflowLoaded()
}

function workflowEdited() {
  if (store.viewers > 0 || store.state.phase !== 'idle') store.workflowEdited()
}

app.registerExtension({
  name: 'ModelResolver',

  // ComfyUI translates commands and settings itself, from commands.json and settings.json.
  commands: [
    { id: COMMAND, label: 'Resolve missing models', icon: 'pi pi-cloud-download', function: openPanel }
  ],
  menuCommands: [{ path: ['Extensions'], commands: [COMMAND] }],
  settings: [
    {
      id: SCAN_ON_LOAD,
      name: 'Look for missing models when a workflow is opened',
      type: 'boolean',
      defaultValue: true,
      category: ['Model Resolver', 'General', 'ScanOnLoad']
    }
  ],
  // Read when the bar is first drawn, after `setup`.
  get actionBarButtons() {
    return [{ icon: tabIcon(), label: t('action.label'), tooltip: t('action.tooltip'), onClick: openPanel }]
  },

  async setup() {
    await store.i18n.load()
    defineElements()
    app.extensionManager.registerSidebarTab({
      id: TAB,
      icon: tabIcon(),
      title: t('title'),
      tooltip: t('action.tooltip'),
      type: 'custom',
      iconBadge: badge,
      render
    })
    keepTabFresh()
    api.addEventListener('graphChanged', workflowEdited)
    void store.downloads.restore()
  },

  beforeRegisterVueAppNodeDefs: (definitions) => keepSubgraphs(definitions, app.rootGraph ?? app.graph ?? null),

  beforeConfigureGraph: host.loading.beforeConfigureGraph,
  // Versions without `afterLoadGraph` call only the first of the two; a scan is coalesced either way.
  afterConfigureGraph() {
    host.loading.afterConfigureGraph()
    workflowLoaded()
  },
  afterLoadGraph() {
    host.loading.afterLoadGraph()
    workflowLoaded()
  }
})
