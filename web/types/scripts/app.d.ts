// Only what we use of `/scripts/app.js` of ComfyUI's frontend. What some version between 1.20 and 1.58 lacks is optional.

export interface GraphNode {
  id: string | number
  title?: string
  type?: string
  boundingRect?: ArrayLike<number>
  subgraph?: Graph
  constructor: { nodeData?: NodeDefinition }
  /** The graph it is in. */
  graph?: Graph | null
  inputs?: NodeInput[]
  widgets?: Widget[]
  /** Only where the node type is not installed. */
  last_serialization?: object
  setDirtyCanvas?(foreground: boolean, background: boolean): void
  onWidgetChanged?(name: string, value: unknown, before: unknown, widget: Widget): void
}

/** Of a node type, as `/object_info` has it. */
export interface NodeDefinition {
  name: string
}

export interface NodeInput {
  name: string
  /** The widget it can be set by as well. */
  widget?: { name: string }
  link?: string | number | null
}

export interface Widget {
  name: string
  value: unknown
  /** False: its value is not saved. */
  serialize?: boolean
  options?: { values?: unknown }
  callback?(value: unknown, canvas?: unknown, node?: GraphNode): void
}

export interface Link {
  origin_id: string | number
  origin_slot: number
}

export interface Graph {
  /** Of a subgraph: its definition's. */
  id?: string
  nodes?: GraphNode[]
  getNodeById(id: string | number): GraphNode | null | undefined
  getLink?(id: string | number): Link | undefined
  /** A Map that, in some versions, also answers to plain indexing. */
  links?: Map<string | number, Link> | Record<string | number, Link>
  /** Of a subgraph. */
  inputs?: { name: string }[]
  outputs?: { linkIds?: (string | number)[] }[]
  serialize(): object
}

export interface Canvas {
  graph: Graph | null
  setGraph?(graph: Graph): void
  openSubgraph?(subgraph: Graph, from: GraphNode): void
  animateToBounds?(bounds: ArrayLike<number>): void
  centerOnNode(node: GraphNode): void
  selectNode?(node: GraphNode): void
  setDirty(foreground: boolean, background: boolean): void
  emitBeforeChange?(): void
  emitAfterChange?(): void
}

/** What keeps the steps of undo. Between the two calls it takes none; a pair with no change does nothing. */
export interface ChangeTracker {
  beforeChange(): void
  afterChange(): void
}

export interface SidebarTab {
  id: string
  icon: string
  title: string
  tooltip: string
  type: 'custom'
  iconBadge: () => string | null
  render(container: HTMLElement): void
  destroy?(): void
}

export interface Toast {
  /** Since 1.50 or so; before that there is only `add`. */
  success?(title: string, options: { description: string; duration: number }): void
  error?(title: string, options: { description: string; duration: number }): void
  add?(message: { severity: string; summary: string; detail: string; life: number }): void
}

export interface ExtensionManager {
  registerSidebarTab(tab: SidebarTab): void
  getSidebarTabs?(): SidebarTab[]
  sidebarTab?: { activeSidebarTabId: string | null; toggleSidebarTab(id: string): void }
  command?: { execute(id: string): Promise<void> }
  workflow?: { activeWorkflow?: { changeTracker?: ChangeTracker | null } | null }
  /** What the last refused Run complained of, by execution id. */
  lastNodeErrors?: Record<string, { errors: { extra_info?: { input_name?: string } }[] }> | null
  setting: { get(id: string): unknown }
  toast: Toast
}

export interface Extension {
  name: string
  commands?: { id: string; label: string; icon: string; function(): void | Promise<void> }[]
  menuCommands?: { path: string[]; commands: string[] }[]
  actionBarButtons?: { icon: string; label: string; tooltip: string; onClick(): void }[]
  settings?: { id: string; name: string; type: 'boolean'; defaultValue: boolean; category: string[] }[]
  setup?(): Promise<void>
  /** Before the editor replaces the definitions it keeps by these; may change them in place. */
  beforeRegisterVueAppNodeDefs?(definitions: NodeDefinition[]): void
  beforeConfigureGraph?(workflow: object): void
  afterConfigureGraph?(): void
  /** Since 1.58 or so. */
  afterLoadGraph?(): void
}

export const app: {
  rootGraph?: Graph
  /** The name `rootGraph` had before. */
  graph?: Graph
  canvas?: Canvas
  extensionManager: ExtensionManager
  registerExtension(extension: Extension): void
  /** Opens a workflow file as dropping it on the canvas does. */
  handleFile?(file: File): Promise<unknown>
  refreshComboInNodes(): Promise<void>
  /** Since 1.58 or so: also rescans ComfyUI's own list of missing models. */
  refreshMissingModels?(options: { silent: boolean; reloadDefs: boolean }): Promise<unknown>
}
