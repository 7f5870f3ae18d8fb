// @ts-check

// A view is a function from state to a description of elements; `patch` makes the page agree with it
// and touches nothing else, so focus, scrolling and text selection survive every update.
// Text always goes in as text: there is no way to hand in HTML.

/** @typedef {{ tag: string, props: Props, children: VNode[] }} VElement */
/** @typedef {VElement | string} VNode */
/** @typedef {VNode | number | null | undefined | false | any[]} Child  nested lists too */
/** @typedef {Record<string, unknown> & { key?: string, class?: string }} Props */

const SVG = 'http://www.w3.org/2000/svg'
const PROPERTIES = new Set(['value', 'checked', 'disabled', 'open', 'indeterminate', 'selected'])

/** What an element was last made to agree with. @type {WeakMap<Node, VElement>} */
const applied = new WeakMap()

/**
 * Props are attributes (`null` and `false` leave one out), except `on…` handlers, live properties such
 * as `checked`, and `key`, which tells siblings of a list apart.
 *
 * @param {string} tag
 * @param {Props | null} [props]
 * @param {...Child} children
 * @returns {VElement}
 */
export function h(tag, props, ...children) {
  return { tag, props: props ?? {}, children: flatten(children) }
}

/**
 * @param {Child[]} children
 * @returns {VNode[]}
 */
function flatten(children) {
  /** @type {VNode[]} */
  const flat = []
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue
    if (Array.isArray(child)) flat.push(...flatten(child))
    else if (typeof child === 'object') flat.push(child)
    else if (child !== '') flat.push(String(child))
  }
  return flat
}

/**
 * Makes the children of `parent` agree with `children`.
 *
 * @param {ParentNode & Node} parent
 * @param {Child[]} children
 */
export function patch(parent, children) {
  patchChildren(parent, flatten(children))
}

/**
 * @param {ParentNode & Node} parent
 * @param {VNode[]} children
 */
function patchChildren(parent, children) {
  const keys = new Set(children.map(keyOf))
  /** @type {Map<string, Element>} */
  const keyed = new Map()
  for (const node of [...parent.childNodes]) {
    const key = node instanceof Element ? applied.get(node)?.props.key : undefined
    if (key === undefined) continue
    // Gone first: what stays then already is in order, and need not be moved (moving loses focus).
    if (keys.has(key)) keyed.set(key, /** @type {Element} */ (node))
    else node.remove()
  }

  let cursor = parent.firstChild
  for (const child of children) {
    const key = keyOf(child)
    let node = key === undefined ? cursor : keyed.get(key)
    if (!node || !fits(node, child)) node = create(child, parent)
    if (node === cursor) cursor = cursor.nextSibling
    else parent.insertBefore(node, cursor)
    update(node, child)
  }
  while (cursor) {
    const next = cursor.nextSibling
    cursor.remove()
    cursor = next
  }
}

/** @param {VNode} child */
function keyOf(child) {
  return typeof child === 'string' ? undefined : child.props.key
}

/**
 * @param {Node} node
 * @param {VNode} child
 */
function fits(node, child) {
  if (typeof child === 'string') return node instanceof Text
  return (
    node instanceof Element &&
    node.localName === child.tag &&
    applied.get(node)?.props.key === child.props.key
  )
}

/**
 * @param {VNode} child
 * @param {Node} parent
 */
function create(child, parent) {
  if (typeof child === 'string') return document.createTextNode(child)
  const inSvg = child.tag === 'svg' || (parent instanceof Element && parent.namespaceURI === SVG)
  return inSvg ? document.createElementNS(SVG, child.tag) : document.createElement(child.tag)
}

/**
 * @param {Node} node
 * @param {VNode} child
 */
function update(node, child) {
  if (typeof child === 'string') {
    if (node.nodeValue !== child) node.nodeValue = child
    return
  }
  // A view that has nothing new to say may hand in the very same description again.
  if (applied.get(node) === child) return
  const element = /** @type {Element & Record<string, any>} */ (node)
  patchProps(element, child.props)
  applied.set(node, child)
  patchChildren(element, child.children)
  // A select takes its value only once its options are there.
  if (child.tag === 'select' && 'value' in child.props) element.value = child.props.value
}

/**
 * @param {Element & Record<string, any>} element
 * @param {Props} props
 */
function patchProps(element, props) {
  const before = applied.get(element)?.props ?? {}
  for (const name of Object.keys(before)) {
    if (!(name in props)) setProp(element, name, null)
  }
  for (const [name, value] of Object.entries(props)) {
    // Live properties change by the user's hand, too: compare with the element, not with the last view.
    if (isLive(element, name) ? element[name] !== value : before[name] !== value) setProp(element, name, value)
  }
}

/**
 * An option's value is none: without the attribute it reads as the option's text, or as empty before there is one.
 *
 * @param {Element} element
 * @param {string} name
 */
function isLive(element, name) {
  return PROPERTIES.has(name) && !(name === 'value' && element.localName === 'option')
}

/**
 * @param {Element & Record<string, any>} element
 * @param {string} name
 * @param {unknown} value
 */
function setProp(element, name, value) {
  if (name === 'key') return
  if (name.startsWith('on')) {
    element[name] = value
    return
  }
  if (isLive(element, name)) {
    element[name] = value ?? (name === 'value' ? '' : false)
    return
  }
  if (value === null || value === undefined || value === false) element.removeAttribute(name)
  else element.setAttribute(name, value === true ? '' : String(value))
}
