// @ts-check

// Everything about URLs that came from a workflow, a server or the user.

/** @import { Candidate, Provider } from '../types/contract' */

/** @type {Record<Provider, string>} where a user makes a token */
export const TOKEN_PAGES = {
  huggingface: 'https://huggingface.co/settings/tokens',
  civitai: 'https://civitai.com/user/account'
}

/**
 * A URL that may become a link. Anything but http(s) (`javascript:` above all) is none.
 *
 * @param {string | null | undefined} value
 * @returns {string | null}
 */
export function safeUrl(value) {
  return parse(value)?.href ?? null
}

/**
 * @param {string | null | undefined} value
 * @returns {URL | null}
 */
function parse(value) {
  if (!value) return null
  try {
    const url = new URL(value.trim())
    return url.protocol === 'https:' || url.protocol === 'http:' ? url : null
  } catch {
    return null
  }
}

/**
 * Where a candidate's file lies: the site, if it is a well-known one, and who publishes it there.
 * It is read off the URL that is fetched, not what a workflow may claim of it.
 *
 * @param {Candidate} candidate
 * @returns {{ site: 'huggingface' | 'civitai' | 'github' | null, publisher: string }} `publisher` may be empty
 */
export function originOf(candidate) {
  const url = parse(candidate.url)
  if (!url) return { site: null, publisher: '' }
  const host = url.hostname.replace(/^www\./, '')
  const parts = url.pathname.split('/').filter(Boolean).map(readable)
  const provider = providerOf(candidate)
  // What kind of repository it is, if it is not one of models, stands before its owner.
  if (provider === 'huggingface' && ['datasets', 'spaces'].includes(parts[0])) parts.shift()
  const [owner, repository] = parts
  const path = owner && repository ? `${owner}/${repository}` : ''
  if (host === 'github.com') return { site: 'github', publisher: path }
  if (provider === 'huggingface') return { site: provider, publisher: path }
  // Civitai's URLs hold numbers only; whose file it is stands in its own answer.
  if (provider) return { site: provider, publisher: (candidate.source === provider && candidate.publisher) || '' }
  return { site: null, publisher: url.host }
}

/**
 * Whose token is sent for a file. A provider's own API may name its files by a mirror's host.
 *
 * @param {{ url: string, source?: string }} file
 * @returns {Provider | null}
 */
export function providerOf({ url, source }) {
  const host = parse(url)?.hostname.replace(/^www\./, '') ?? ''
  if (source === 'huggingface' || host === 'huggingface.co' || host === 'hf.co') return 'huggingface'
  return source === 'civitai' || /^civitai\.(com|red)$/.test(host) ? 'civitai' : null
}

/**
 * The page about a file: there its licence is accepted, and its terms are read.
 *
 * @param {string} url of the file at one of the providers
 * @returns {string} the URL itself if the page is not known
 */
export function pageOf(url) {
  const page = parse(url)
  if (!page) return url
  const version = page.pathname.match(/^\/api\/download\/models\/(\d+)/)
  const repository = page.pathname.match(/^\/(?:datasets\/|spaces\/)?[^/]+\/[^/]+(?=\/(?:resolve|blob|raw)\/)/)
  if (version) return `${page.origin}/model-versions/${version[1]}`
  return repository ? page.origin + repository[0] : page.href
}

/**
 * What a user pastes is often the page they looked at; the file is next to it.
 *
 * @param {string} value
 * @returns {string | null} null if it is no http(s) URL
 */
export function downloadUrl(value) {
  const url = parse(value)
  if (!url) return null
  if (url.hostname === 'huggingface.co') {
    url.pathname = url.pathname.replace(/^(\/(?:datasets\/|spaces\/)?[^/]+\/[^/]+)\/blob\//, '$1/resolve/')
  }
  const version = url.searchParams.get('modelVersionId')
  if (/^(www\.)?civitai\.(com|red)$/.test(url.hostname) && version && /^\d+$/.test(version)) {
    return `${url.origin}/api/download/models/${version}`
  }
  return url.href
}

/**
 * @param {string} url
 * @returns {string} the last part of its path, decoded
 */
export function fileNameOf(url) {
  return readable(parse(url)?.pathname.split('/').pop() ?? '')
}

/**
 * A part of a URL's path as people write it; as it stands if that would show another path than is meant:
 * one with more parts, or with characters that cannot be seen or turn the text around.
 *
 * @param {string} part
 */
function readable(part) {
  try {
    const decoded = decodeURIComponent(part)
    return /[/\\\p{C}\p{Zl}\p{Zp}]/u.test(decoded) ? part : decoded
  } catch {
    return part
  }
}

/**
 * Where to look by hand for a model that no source has.
 *
 * @param {string} name
 * @returns {{ id: 'huggingface' | 'civitai', url: string }[]}
 */
export function searchLinks(name) {
  const file = name.split('/').pop() ?? name
  const stem = encodeURIComponent(file.replace(/\.[a-z0-9]+$/i, ''))
  return [
    { id: 'huggingface', url: `https://huggingface.co/models?search=${stem}` },
    { id: 'civitai', url: `https://civitai.com/search/models?query=${stem}` }
  ]
}
