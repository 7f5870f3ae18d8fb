// @ts-check

/**
 * Takes files that are dropped on an element, and nothing else: other drags are left to the page, and the
 * page's own handlers do not learn of files that are dropped here.
 *
 * @param {HTMLElement} element gets the attribute `data-over` while files are over it
 * @param {{ over(): void, take(file: File): void }} events
 */
export function takeDrops(element, { over, take }) {
  const holdsFiles = (/** @type {DragEvent} */ { dataTransfer }) => dataTransfer?.types.includes('Files')

  /** @param {DragEvent} event */
  function hover(event) {
    if (!holdsFiles(event)) return
    event.preventDefault()
    event.stopPropagation()
    if (event.dataTransfer) event.dataTransfer.dropEffect = 'copy'
    if (element.hasAttribute('data-over')) return
    over()
    element.setAttribute('data-over', '')
  }

  element.addEventListener('dragenter', hover)
  element.addEventListener('dragover', hover)
  element.addEventListener('dragleave', ({ relatedTarget }) => {
    const inside = relatedTarget instanceof Node && element.contains(relatedTarget)
    if (!inside) element.removeAttribute('data-over')
  })
  element.addEventListener('drop', (event) => {
    if (!holdsFiles(event)) return
    event.preventDefault()
    event.stopPropagation()
    element.removeAttribute('data-over')
    const file = event.dataTransfer?.files[0]
    if (file) take(file)
  })
}
