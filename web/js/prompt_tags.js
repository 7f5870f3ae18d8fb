// @ts-check

// Models named in a text: `embedding:name` and `<lora:name:0.8>`, as resolver/workflow/prompt_text.py reads them.

const EMBEDDING = /(^|[\s(,])embedding:([^\s,:()<>[\]]+)/g
const TAG = /(<(lora|lyco|hypernet):)([^:<>\n]+)(?=(?::[^<>\n]*)?>)/gi
/** @type {Record<string, string>} */
const FOLDERS = { lora: 'loras', lyco: 'loras', hypernet: 'hypernetworks' }

/**
 * `text` with every tag that names `name` naming `next` instead.
 *
 * @param {string} text
 * @param {string} name
 * @param {string} next
 * @param {string} [folder] of the tags that are meant; otherwise all are
 */
export function retagged(text, name, next, folder) {
  /** @param {string} kind the folder of a tag */
  const meant = (kind) => folder === undefined || folder === kind
  return text
    .replace(EMBEDDING, (whole, before, old) =>
      old === name && meant('embeddings') ? `${before}embedding:${next}` : whole
    )
    .replace(TAG, (whole, start, kind, old) =>
      old.trim() === name && meant(FOLDERS[kind.toLowerCase()])
        ? start + old.replace(name, () => next)
        : whole
    )
}

/**
 * Whether a value is a text with a tag that names `name`.
 *
 * @param {unknown} value
 * @param {string} name
 */
export function hasTag(value, name) {
  return typeof value === 'string' && value !== name && retagged(value, name, `${name}.`) !== value
}
