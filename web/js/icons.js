// @ts-check

import { h } from './dom.js'

/** Line icons on a 24 × 24 grid, drawn for this project. */
const SHAPES = {
  refresh: ['M20 12a8 8 0 1 1-2.5-5.8', 'M20 3v5h-5'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  download: ['M12 4v11', 'M7 10.5l5 5 5-5', 'M4 20h16'],
  pause: ['M9 5v14', 'M15 5v14'],
  play: ['M8 5l11 7-11 7z'],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  alert: ['M12 4L2.8 20h18.4z', 'M12 10v4.5', 'M12 17.2v.3'],
  lock: ['M6 11h12v9H6z', 'M8.5 11V8a3.5 3.5 0 0 1 7 0v3'],
  search: ['M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13z', 'M15.5 15.5L20 20'],
  locate: ['M12 18a6 6 0 1 0 0-12 6 6 0 0 0 0 12z', 'M12 2v4', 'M12 18v4', 'M2 12h4', 'M18 12h4'],
  copy: ['M9 9h11v11H9z', 'M15 9V4H4v11h5'],
  external: ['M10 5H5v14h14v-5', 'M14 4h6v6', 'M20 4l-9 9'],
  chevron: ['M9 5.5l6.5 6.5L9 18.5'],
  file: ['M6 3.5h8.5L19 8v12.5H6z', 'M14 3.5V8.5h5'],
  openFile: ['M6 3.5h8.5L19 8v12.5H6z', 'M12.5 11v6.5', 'M9.8 13.5l2.7-2.7 2.7 2.7'],
  back: ['M20 12H5', 'M11 6l-6 6 6 6'],
  folder: ['M3.5 6h6l2 2.5h9V19h-17z'],
  moved: ['M3.5 6h6l2 2.5h9V19h-17z', 'M9 13.8h6', 'M12.8 11.3l2.5 2.5-2.5 2.5'],
  clock: ['M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z', 'M12 7.5V12l3 2'],
  offline: ['M7.5 18.5h9a4 4 0 0 0 2.6-7', 'M14.8 7.6A5.5 5.5 0 0 0 6.7 10 4.3 4.3 0 0 0 7.5 18.5', 'M4 4l16 16'],
  retry: ['M4 12a8 8 0 1 0 2.5-5.8', 'M4 3v5h5'],
  question: [
    'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z',
    'M9.6 9.5a2.5 2.5 0 1 1 3.7 2.2c-.9.5-1.3 1-1.3 1.9',
    'M12 16.6v.2'
  ]
}

/** @typedef {keyof typeof SHAPES} IconName */

/**
 * @param {IconName} name
 * @param {string} [className]
 */
export function icon(name, className = '') {
  return h(
    'svg',
    { class: `icon ${className}`, viewBox: '0 0 24 24', 'aria-hidden': 'true', focusable: 'false' },
    SHAPES[name].map((d) => h('path', { d }))
  )
}
