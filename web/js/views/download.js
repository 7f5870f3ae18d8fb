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
    h('p', { class: 'note figures' }, text)
  )
}

/**
 * @param {Context} context
 * @param {Download} download
 * @returns {string}
 */
function progressText({ t, bytes, locale }, download) {
  const { status, size, received, speed, eta } = download
  if (status === 'queued') return t('download.queued')
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
