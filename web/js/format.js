// @ts-check

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB', 'PB']

/**
 * Sizes as ComfyUI itself writes them: 1 KB = 1024 B.
 *
 * @param {number} bytes
 * @param {string} locale
 * @returns {string} e.g. `11.9 GB`
 */
export function formatBytes(bytes, locale) {
  let value = Math.max(0, bytes)
  let unit = 0
  while (value >= 1023.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  const digits = unit === 0 || value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2
  return `${number(value, digits, locale)}\u00a0${UNITS[unit]}`
}

/**
 * @param {number} seconds
 * @param {string} locale
 * @returns {string} e.g. `3 min`, `1 h 20 min`, in the words of `locale`
 */
export function formatDuration(seconds, locale) {
  const whole = Math.max(1, Math.round(seconds))
  if (whole < 60) return unit(whole, 'second', locale)
  const minutes = Math.round(whole / 60)
  if (minutes < 60) return unit(minutes, 'minute', locale)
  const hours = Math.floor(minutes / 60)
  if (hours >= 24) return unit(hours, 'hour', locale)
  const rest = minutes % 60
  return rest ? `${unit(hours, 'hour', locale)} ${unit(rest, 'minute', locale)}` : unit(hours, 'hour', locale)
}

/**
 * @param {number} part
 * @param {number | null} whole
 * @returns {number | null} 0 … 100, null if `whole` is unknown
 */
export function percent(part, whole) {
  return whole ? Math.min(100, (part / whole) * 100) : null
}

/**
 * Splits a name so that a narrow column can cut its middle: the head shrinks, the tail stays.
 *
 * @param {string} name
 * @returns {[string, string]}
 */
export function splitName(name) {
  const tail = Math.min(18, Math.floor(name.length / 2))
  return [name.slice(0, name.length - tail), name.slice(name.length - tail)]
}

/**
 * @param {number} value
 * @param {number} digits
 * @param {string} locale
 */
function number(value, digits, locale) {
  return new Intl.NumberFormat(locale, { maximumFractionDigits: digits }).format(value)
}

/**
 * @param {number} value
 * @param {'second' | 'minute' | 'hour'} name
 * @param {string} locale
 */
function unit(value, name, locale) {
  return new Intl.NumberFormat(locale, { style: 'unit', unit: name, unitDisplay: 'short' }).format(value)
}
