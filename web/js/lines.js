// @ts-check

/**
 * The lines of a text body as they arrive, without their line ends.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @returns {AsyncGenerator<string, void, void>}
 */
export async function* readLines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const lines = (rest + value).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) yield line.replace(/\r$/, '')
    }
    if (rest) yield rest
  } finally {
    // Leaving the loop early must close the connection, not leave the server writing.
    await reader.cancel().catch(() => {})
  }
}
