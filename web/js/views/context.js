// @ts-check

import { formatBytes } from '../format.js'

/** @import { Host } from '../../types/host' */
/** @import { Translate } from '../i18n.js' */
/** @import { Store } from '../store.js' */
/** @import { State } from '../../types/state' */

/**
 * What the host does with the graph it shows; nothing while a file is looked at, whose nodes are not there.
 *
 * @typedef {Pick<Host, 'locate' | 'nodeTitle' | 'relink'>} OnGraph
 */

/**
 * What every view is handed: the store for its actions, and how to say things.
 *
 * @typedef {{
 *   store: Store,
 *   state: State,
 *   t: Translate,
 *   locale: string,
 *   onGraph: OnGraph,
 *   bytes(size: number): string,
 *   has(key: string): boolean,
 *   say(group: string, key: string): string
 * }} Context
 */

/**
 * @param {Store} store
 * @returns {Context}
 */
export function contextOf(store) {
  const { i18n, state } = store
  const { locale, t } = i18n
  return {
    store,
    state,
    t,
    locale,
    onGraph: state.file ? {} : store.host,
    bytes: (size) => formatBytes(size, locale),
    has: (key) => i18n.has(key),
    // For values the server may add to at any time: one we have no word for is shown as it is.
    say: (group, key) => (i18n.has(`${group}.${key}`) ? t(`${group}.${key}`) : key)
  }
}
