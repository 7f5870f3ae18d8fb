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
  const text = progressText(context, download)
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
        text
      }
    ),
    h('p', { class: 'note figures', title: connectionsText(context, download) }, text)
  )
}

/**
 * @param {Context} context
 * @param {Download} download
 * @returns {string}
 */
function progressText({ t, has, bytes, locale }, download) {
  const { status, size, received, speed, eta, error } = download
  if (status === 'queued') {
    if (!error) return t('download.queued')
    if (error.code === 'DOWNLOADING_ELSEWHERE') return t('download.elsewhere')
    return `${t('download.again')} · ${has(`errors.${error.code}`) ? t(`errors.${error.code}`) : error.message}`
  }
  if (status === 'verifying') return t('download.verifying')
  const done = percent(received, size)
  const parts = [
    status === 'paused' && t('download.paused'),
    done !== null && `${Math.floor(done)}%`,
    size === null ? bytes(received) : `${bytes(received)} / ${bytes(size)}`,
    status === 'active' && speed > 0 && t('download.speed', { speed: bytes(speed) }),
    status === 'active' && eta !== null && t('download.left', { time: formatDuration(eta, locale) })
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
