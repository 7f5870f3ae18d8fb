// @ts-check

// The one place that holds state and talks to the server. Views read `state`, call actions, and are told
// when to look again. It outlives every panel: ComfyUI builds and drops those as tabs are switched.

import { Access } from './access.js'
import { ApiError, Client, isAbort, problemOf } from './client.js'
import { DownloadBook } from './downloads.js'
import { fingerprint } from './fingerprint.js'
import { I18n } from './i18n.js'
import { Library } from './library.js'
import { downloadUrl, fileNameOf } from './links.js'
import { planOf } from './plan.js'
import { Relinker } from './relinker.js'
import { isHarmless, modelKey, neededModels, rowsOf } from './rows.js'
import { coalesce } from './timing.js'
import { copyText } from './clipboard.js'

/** @import { Analysis, Candidate, Model, Reference, ResolveRequest } from '../types/contract' */
/** @import { Host } from '../types/host' */
/** @import { Choice, Row, State } from '../types/state' */

const QUIET = 400
/** How long a copy is acknowledged. */
const COPIED_MS = 1500
/** What the server takes at most: more need not be sent to be refused. */
const MAX_FILE_BYTES = 64 * 1024 * 1024

export class Store {
  /** @param {Host} host */
  constructor(host) {
    this.host = host
    this.i18n = new I18n(host)
    this.client = new Client(host.fetch)
    /** @type {State} */
    this.state = {
      phase: 'idle',
      problem: null,
      analysis: null,
      graph: null,
      file: null,
      scannedAt: 0,
      resolutions: new Map(),
      search: { running: false, found: 0, total: 0, problem: null },
      choices: new Map(),
      folders: [],
      diskReserve: 0,
      downloads: new Map(),
      completedAt: new Map(),
      batch: new Set(),
      starting: false,
      relinking: false,
      relinkProblems: new Map(),
      actionProblem: null,
      credentials: [],
      checks: new Map(),
      opened: new Set(),
      library: { hashing: null, duplicates: null, busy: false, problem: null },
      open: new Set(),
      copied: null
    }
    this.access = new Access(this)
    this.downloads = new DownloadBook(this)
    this.library = new Library(this)
    this.relinker = new Relinker(this)
    /** @type {Set<() => void>} */
    this.listeners = new Set()
    this.viewers = 0
    /** Fingerprint of what was scanned last. */
    this.scanned = ''
    /** @type {AbortController | null} */
    this.scanning = null
    /** @type {AbortController | null} */
    this.searching = null
    this.scanSoon = coalesce(() => this.scan(), QUIET)
    /** Another workflow is open, or the same one anew. */
    this.workflowLoaded = coalesce(() => this.#scanGraph(), QUIET)
    /** The user works in the open workflow: scans if that changed what it wants. */
    this.workflowEdited = coalesce(async () => {
      const workflow = this.host.workflow()
      if (workflow && fingerprint(workflow) !== this.scanned) await this.#scanGraph()
    }, QUIET)
    /** There may be something new about files. */
    this.libraryChanged = coalesce(() => this.#libraryChanged(), QUIET)
    host.listen({
      download: (download) => this.downloads.accept(download),
      library: this.libraryChanged,
      hashing: (hashing) => this.library.accept(hashing),
      reconnected: () => {
        void this.downloads.restore()
        void this.library.restore()
        if (this.state.phase !== 'idle') this.scanSoon()
      }
    })
  }

  /**
   * @param {() => void} listener called after every change of `state`
   * @returns {() => void} ends it
   */
  subscribe(listener) {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  changed() {
    for (const listener of this.listeners) listener()
  }

  /** A panel came on screen: look at the workflow now, and search for what it lacks. */
  async attach() {
    this.viewers += 1
    await this.i18n.load()
    await Promise.all([this.downloads.restore(), this.access.load(), this.library.restore(), this.scan()])
  }

  detach() {
    this.viewers -= 1
  }

  /** Finds out what the workflow, or the file, lacks; then searches for it if somebody looks. */
  async scan({ afresh = false } = {}) {
    const workflow = this.host.workflow()
    const { file } = this.state
    this.scanning?.abort()
    if (!workflow && !file) {
      this.#stopSearch()
      Object.assign(this.state, { phase: 'idle', analysis: null, graph: null, problem: null })
      this.changed()
      return
    }
    const abort = (this.scanning = new AbortController())
    const startedAt = Date.now()
    const scanned = (this.scanned = workflow ? fingerprint(workflow) : '')
    this.state.phase = 'scanning'
    this.state.relinkProblems.clear()
    this.changed()
    try {
      let [graph, analysis] = await Promise.all([
        workflow && this.#analyzeGraph(workflow, abort.signal, afresh),
        file && this.client.analyzeFile(file, abort.signal, afresh),
        this.#loadFolders(),
        this.i18n.load()
      ])
      if (abort.signal.aborted) return
      // Edited meanwhile, beside the file: what is known of it, or soon will be, is newer.
      if (this.scanned !== scanned) graph = this.state.graph
      if (graph) this.host.settle?.(arrivedReferences(neededModels(this.state.graph), graph))
      Object.assign(this.state, {
        phase: 'ready',
        problem: null,
        graph,
        analysis: analysis ?? graph,
        scannedAt: startedAt
      })
    } catch (error) {
      if (isAbort(error) || abort.signal.aborted) return
      this.#stopSearch()
      Object.assign(this.state, { phase: 'failed', problem: problemOf(error) })
      this.changed()
      return
    }
    this.changed()
    if (this.viewers > 0) void this.search()
  }

  /**
   * @param {object} workflow
   * @param {AbortSignal} signal
   * @param {boolean} afresh
   * @returns {Promise<Analysis | null>}
   */
  async #analyzeGraph(workflow, signal, afresh) {
    const { state } = this
    try {
      return await this.client.analyze(workflow, signal, afresh)
    } catch (error) {
      // Beside a file only the badge depends on it.
      if (state.file && !isAbort(error)) return state.graph
      throw error
    }
  }

  /** The open workflow may want other models now. A file that is looked at does not. */
  async #scanGraph() {
    if (!this.state.file) return this.scan()
    const workflow = this.host.workflow()
    this.scanned = workflow ? fingerprint(workflow) : ''
    const graph = workflow && (await this.client.analyze(workflow).catch(() => null))
    if (this.scanned !== (workflow ? fingerprint(workflow) : '')) return
    this.state.graph = graph
    this.changed()
  }

  /**
   * Looks at a workflow file in place of the open workflow.
   *
   * @param {File} chosen
   */
  async openFile(chosen) {
    this.scanning?.abort()
    this.#leave(chosen)
    this.state.phase = 'scanning'
    this.changed()
    try {
      if (chosen.size > MAX_FILE_BYTES) throw new ApiError('WORKFLOW_TOO_LARGE', '', 0)
      // Read now: later it may have been changed, moved or deleted.
      const file = new File([await chosen.arrayBuffer()], chosen.name, { type: chosen.type })
      if (this.state.file !== chosen) return
      this.state.file = file
    } catch (error) {
      if (this.state.file !== chosen) return
      const problem = error instanceof ApiError ? error : new ApiError('FILE_UNREADABLE', '', 0)
      Object.assign(this.state, { phase: 'failed', problem: problem.asProblem() })
      this.changed()
      return
    }
    await this.rescan()
  }

  /** Goes back to the open workflow. */
  async closeFile() {
    if (!this.state.file) return
    this.#leave(null)
    await this.scan()
  }

  /** Hands the file to the editor, and looks at what is open there. */
  async openInEditor() {
    const { file } = this.state
    if (!file || !this.host.openFile) return
    await Promise.all([this.closeFile(), this.host.openFile(file)])
  }

  /** @param {File | null} file to look at from now on */
  #leave(file) {
    const { state } = this
    this.#stopSearch()
    state.relinkProblems.clear()
    Object.assign(state, { file, analysis: file ? null : state.graph, problem: null, actionProblem: null })
  }

  /** Looks again from scratch, results of earlier searches forgotten. */
  async rescan() {
    this.#stopSearch()
    this.state.resolutions.clear()
    this.state.actionProblem = null
    await Promise.all([this.downloads.restore(), this.access.load(), this.library.restore()])
    await this.scan({ afresh: true })
  }

  /**
   * Searches for the missing models of a run that have not been searched for yet.
   *
   * @param {Model[]} [again] those to be searched for in any case
   */
  async search(again = []) {
    const missing = neededModels(this.state.analysis).filter(
      (model) =>
        model.status === 'missing' && (again.includes(model) || !this.state.resolutions.has(modelKey(model)))
    )
    this.#stopSearch()
    if (missing.length === 0) {
      this.changed()
      return
    }
    const workflow = this.host.workflow()
    // Told whole, not by its models alone: its notes and metadata say where they are.
    const request = this.state.file ?? (workflow && { workflow })
    if (request) await this.#searchFor(missing, request)
  }

  /**
   * Searches anew; what was found before stays in sight until there is something newer.
   *
   * @param {Row[]} rows
   */
  async searchAgain(rows) {
    const ofRun = rows.filter(({ model }) => model.active && model.folder !== null)
    if (ofRun.length > 0) await this.search(ofRun.map(({ model }) => model))
    for (const row of rows) {
      if (row.folder !== null && !ofRun.includes(row)) await this.searchOne(row.model, row.folder)
    }
  }

  /**
   * Searches for one model, in the folder the user told or one that takes no part in a run.
   *
   * @param {Model} model
   * @param {string} folder
   */
  async searchOne(model, folder) {
    const models = [{ folder, name: model.name, url: model.url, sha256: model.sha256, size: model.size }]
    if (!this.state.search.running) await this.#searchFor([model], { models })
  }

  /**
   * @param {Model[]} models
   * @param {ResolveRequest | File} request
   */
  async #searchFor(models, request) {
    const abort = (this.searching = new AbortController())
    const search = this.state.search
    Object.assign(search, { running: true, found: 0, total: models.length, problem: null })
    this.changed()
    const byId = new Map(models.map((model) => [model.id, model]))
    try {
      for await (const resolution of this.client.resolve(request, abort.signal)) {
        const model = byId.get(resolution.id)
        if (model) search.found += 1
        const key = model ? modelKey(model) : resolution.id
        this.state.resolutions.set(key, this.access.asOpened(resolution))
        this.changed()
      }
    } catch (error) {
      if (isAbort(error) || abort.signal.aborted) return
      search.problem = problemOf(error)
    }
    if (abort.signal.aborted) return
    search.running = false
    this.changed()
  }

  #stopSearch() {
    this.searching?.abort()
    this.searching = null
    this.state.search.running = false
  }

  async #loadFolders() {
    // Without them only destinations and free space are unknown; a scan is of use all the same.
    const { state, client } = this
    ;[state.folders, state.diskReserve] = await Promise.all([
      client.folders().catch(() => state.folders),
      client.diskReserve().catch(() => state.diskReserve)
    ])
  }

  async #libraryChanged() {
    await this.library.load()
    if (this.state.phase === 'idle') return
    const { state } = this
    const needed = () => [state.graph, state.analysis].map((analysis) => neededModels(analysis).length)
    const before = needed()
    await this.scan()
    if (needed().some((count, index) => count < before[index])) await this.host.modelsChanged?.()
  }

  // --- what the user decides ---------------------------------------------------------------------

  /**
   * @param {string} id of a model
   * @param {Choice} choice
   */
  choose(id, choice) {
    this.state.choices.set(id, { ...this.state.choices.get(id), ...choice })
    this.changed()
  }

  /**
   * Takes another candidate; a failed download of the old one is then of no interest.
   *
   * @param {Row} row
   * @param {string} url
   */
  chooseCandidate(row, url) {
    if (row.download?.status === 'failed') void this.downloads.forget(row.download.id)
    // A file that scanners warn of is not ticked by looking at it.
    const isWarnedOf = row.candidates.some((other) => other.url === url && other.safety === 'danger')
    this.choose(row.id, { url, picked: !isWarnedOf })
  }

  /**
   * Ticks or unticks a row: what is ticked is this very file.
   *
   * @param {Row} row
   */
  pick(row) {
    this.choose(row.id, { picked: !row.selected, url: row.chosen?.url })
  }

  /**
   * @param {Row} row
   * @param {string} input what the user typed or pasted
   * @returns {boolean} false if it is no http(s) URL
   */
  useUrl(row, input) {
    const url = downloadUrl(input)
    if (!url) return false
    /** @type {Candidate} */
    const own = {
      source: 'user',
      url,
      page_url: null,
      filename: fileNameOf(url),
      size: null,
      sha256: null,
      confidence: 'possible',
      evidence: [],
      mirrors: [],
      gated: false,
      needs: null,
      safety: null,
      publisher: null,
      licence: null
    }
    this.choose(row.id, { own })
    this.chooseCandidate(row, url)
    return true
  }

  /**
   * Tells the folder of a model that nothing else tells; then there is something to search with.
   *
   * @param {Row} row
   * @param {string} folder
   */
  setFolder(row, folder) {
    this.choose(row.id, { folder })
    if (row.candidates.length === 0) void this.searchOne(row.model, folder)
  }

  /** @param {boolean} picked */
  pickAll(picked) {
    for (const row of rowsOf(this.state)) {
      if (row.model.active && (picked ? isHarmless(row) : row.selectable)) this.choose(row.id, { picked })
    }
  }

  /** @param {string} text for the clipboard; the button that asked for it says for a moment that it is there */
  async copy(text) {
    if (!(await copyText(text))) return
    this.state.copied = text
    this.changed()
    await new Promise((resolve) => setTimeout(resolve, COPIED_MS))
    if (this.state.copied === text) this.state.copied = null
    this.changed()
  }

  /** @param {string} key of a row or a section */
  toggle(key) {
    const { open } = this.state
    if (!open.delete(key)) open.add(key)
    this.changed()
  }

  /**
   * Starts what is selected, or one row.
   *
   * @param {Row} [only]
   */
  async download(only) {
    const rows = only ? [{ ...only, selected: true }] : rowsOf(this.state)
    const plan = planOf(this.state, rows)
    if (plan.items.length > 0 && !plan.blocked) await this.downloads.start(plan.items)
  }
}

/**
 * @param {Model[]} needed before
 * @param {Analysis} analysis now
 * @returns {Reference[]} those whose model has come in between
 */
function arrivedReferences(needed, analysis) {
  const ids = new Set(needed.map((model) => model.id))
  return analysis.models
    .filter((model) => model.status === 'present' && ids.has(model.id))
    .flatMap((model) => model.references)
}
