// @ts-check

// A workflow file that the panel looks at in place of the open workflow.

import { h } from '../dom.js'
import { icon } from '../icons.js'
import { button, longName } from './parts.js'

/** @import { Child } from '../dom.js' */
/** @import { Context } from './context.js' */

/** What the server reads; a file of another kind can still be dropped. */
export const ACCEPTED =
  '.json,.png,.apng,.webp,.avif,.jpg,.jpeg,.gif,.svg,.exr,.mp4,.mov,.m4v,.webm,.mkv,.flac,.mp3,.m4a,.ogg,.opus,.wav'

/**
 * Which file it is, and the ways out: back to the graph, or the file into the editor.
 *
 * @param {Context} context
 */
export function fileBar({ t, store, state }) {
  const { file } = state
  if (!file) return null
  const readable = state.phase !== 'failed' && state.analysis !== null
  return h(
    'div',
    { key: 'file', class: 'file-bar', role: 'status', 'data-testid': 'model-resolver-file-bar' },
    h(
      'div',
      { class: 'file-name' },
      icon('file', 'lead'),
      h('span', { class: 'visually-hidden' }, t('file.shown')),
      longName(file.name)
    ),
    h(
      'div',
      { class: 'buttons' },
      button(t('file.back'), () => void store.closeFile(), {
        icon: 'back',
        testid: 'model-resolver-file-back'
      }),
      store.host.openFile &&
        readable &&
        button(t('file.open'), () => void store.openInEditor(), { testid: 'model-resolver-file-open' })
    )
  )
}

/**
 * A control that lets the user choose a file; it takes the keyboard as any button does.
 *
 * @param {Context} context
 * @param {string} style
 * @param {Child} content
 */
export function fileChooser({ store, t }, style, content) {
  return h(
    'label',
    { class: `${style} chooser`, title: t('file.choose') },
    h('input', {
      type: 'file',
      class: 'visually-hidden',
      accept: ACCEPTED,
      'aria-label': t('file.choose'),
      'data-testid': 'model-resolver-file',
      onchange: (/** @type {Event & { currentTarget: HTMLInputElement }} */ { currentTarget: input }) => {
        const file = input.files?.[0]
        if (file) void store.openFile(file)
        // The same file may be chosen again, after it was changed.
        input.value = ''
      }
    }),
    content
  )
}
