// @ts-check

/**
 * Calls `task` once things have been quiet for `wait` ms. Calls that come while it runs lead to exactly
 * one more run afterwards.
 *
 * @param {() => Promise<void>} task
 * @param {number} wait
 * @returns {() => void}
 */
export function coalesce(task, wait) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  let running = false
  let again = false

  async function run() {
    if (running) {
      again = true
      return
    }
    running = true
    try {
      await task()
    } catch (error) {
      console.error('[model-resolver]', error)
    } finally {
      running = false
    }
    if (again) {
      again = false
      schedule()
    }
  }

  function schedule() {
    clearTimeout(timer)
    timer = setTimeout(run, wait)
  }
  return schedule
}
