// @ts-check

import { h } from '../dom.js'
import { formatDuration, percent } from '../format.js'
import { iconButton, progressBar } from './parts.js'

/** @import { Download } from '../../types/contract' */
/** @import { Context } from './context.js' */

/**
 * How one download gets on.
 *
 * @param {Context} context
 * @param {Download} download
 */
export function downloadLine(context, download) {
  const { t } = context
  const done = percent(download.received, download.size)
  const texts = progressTexts(context, download)
  return h(
    'div',
    {
      class: `transfer ${download.status}`,
      'data-testid': 'model-resolver-progress',
      'data-download-id': download.id
    },
    progressBar(
      download.status === 'verifying' ? null : (done ?? (download.status === 'active' ? null : 0)),
      {
        label: t('download.of', { name: download.filename }),
        text: texts.join(' · ')
      }
    ),
    figures(texts, connectionsText(context, download))
  )
}

/**
 * How far it is, and how fast: side by side, or in a narrow column one below the other, so that no figure
 * that grows by a digit moves what is below.
 *
 * @param {string[]} texts
 * @param {string | null} [title]
 */
export function figures(texts, title = null) {
  return h(
    'p',
    { class: 'note figures', title },
    texts.map((text) => h('span', null, text))
  )
}

/**
 * @param {Context} context
 * @param {Download} download
 * @returns {string[]} how far it is; then, if it is known, how fast
 */
function progressTexts(context, download) {
  const { t, has, bytes } = context
  const { status, size, received, speed, eta, error } = download
  if (status === 'queued') {
    if (!error) return [t('download.queued')]
    if (error.code === 'DOWNLOADING_ELSEWHERE') return [t('download.elsewhere')]
    return [`${t('download.again')} · ${has(`errors.${error.code}`) ? t(`errors.${error.code}`) : error.message}`]
  }
  if (status === 'verifying') return [t('download.verifying')]
  const done = percent(received, size)
  const far = [
    status === 'paused' && t('download.paused'),
    done !== null && `${Math.floor(done)}%`,
    size === null ? bytes(received) : `${bytes(received)} / ${bytes(size)}`
  ]
  const fast = status === 'active' ? paceText(context, speed, eta) : ''
  return [far.filter(Boolean).join(' · '), fast].filter(Boolean)
}

/**
 * @param {Context} context
 * @param {number} speed bytes a second
 * @param {number | null} eta seconds
 * @returns {string} empty while nothing is known
 */
export function paceText({ t, bytes, locale }, speed, eta) {
  const parts = [
    speed > 0 && t('download.speed', { speed: bytes(speed) }),
    eta !== null && t('download.left', { time: formatDuration(eta, locale) })
  ]
  return parts.filter(Boolean).join(' · ')
}

/**
 * @param {Context} context
 * @param {Download} download
 */
function connectionsText({ t }, { status, connections }) {
  return status === 'active' && connections > 0 ? t('download.connections', { n: connections }) : null
}

/**
 * @param {Context} context
 * @param {Download} download
 */
export function downloadActions({ store, t }, download) {
  const { downloads } = store
  const { id, status, filename: name } = download
  return [
    status === 'paused'
      ? iconButton('play', t('download.resume', { name }), () => downloads.control(id, 'resume'), {
          testid: 'model-resolver-resume'
        })
      : iconButton('pause', t('download.pause', { name }), () => downloads.control(id, 'pause'), {
          testid: 'model-resolver-pause',
          disabled: status === 'verifying'
        }),
    iconButton('close', t('download.cancel', { name }), () => downloads.control(id, 'cancel'), {
      testid: 'model-resolver-cancel'
    })
  ]
}
