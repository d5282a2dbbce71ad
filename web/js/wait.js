/** Poll a dataset's status until it is `ready`, or refreshed; throw if it is `failed`. */

import { getStatus } from "./api.js";

// Seconds. Without Retry-After, one second keeps the numbers up to date. The limits keep a Retry-After of 0 from
// causing a busy loop, and a long one from hiding a finished dataset.
const DEFAULT_PAUSE = 1;
const SHORTEST_PAUSE = 0.5;
const LONGEST_PAUSE = 15;

/** Thrown when the dataset has failed. Has the API's error: code, message, retryable. */
export class DatasetFailed extends Error {
  constructor({ code = "internal_error", message = "The dataset failed.", retryable = true } = {}) {
    super(message);
    this.name = "DatasetFailed";
    this.code = code;
    this.retryable = retryable;
  }
}

/**
 * Wait until a dataset is ready.
 *
 * onStatus is called with each new status, including the last one. onTrouble is called with each temporary error, such
 * as a lost connection, which does not end the wait. Returns the ready status. Throws DatasetFailed, a Problem (404:
 * the dataset was deleted), or the signal's AbortError.
 */
export function waitUntilReady(id, options = {}) {
  return poll(id, (status) => status.status === "ready", options);
}

/** Wait until a dataset's refresh has ended. Parameters, result and errors are those of waitUntilReady. */
export function waitUntilRefreshed(id, options = {}) {
  return poll(id, (status) => status.status === "ready" && !isRefreshing(status.refresh), options);
}

/** Whether a refresh, if there is one, is at work. */
export const isRefreshing = (refresh) => Boolean(refresh && !refresh.finished_at);

async function poll(id, isOver, { onStatus = () => {}, onTrouble = () => {}, signal } = {}) {
  let etag = null;
  let troubles = 0;
  for (;;) {
    let pause;
    try {
      const answer = await getStatus(id, { etag, signal });
      etag = answer.etag;
      troubles = 0;
      pause = answer.retryAfter ?? DEFAULT_PAUSE;
      if (answer.status) {
        onStatus(answer.status);
        if (isOver(answer.status)) return answer.status;
        if (answer.status.status === "failed") throw new DatasetFailed(answer.status.error);
      }
    } catch (error) {
      if (!error.passing) throw error;
      onTrouble(error);
      pause = error.retryAfter ?? 2 ** troubles++;
    }
    await rest(Math.min(Math.max(pause, SHORTEST_PAUSE), LONGEST_PAUSE), signal);
  }
}

/** Sleep for some seconds, or until the tab becomes visible again: browsers slow down the timers of hidden tabs. */
function rest(seconds, signal) {
  return new Promise((resolve, reject) => {
    const end = (settle) => (event) => {
      if (event?.type === "visibilitychange" && document.hidden) return;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", wake);
      signal?.removeEventListener("abort", abort);
      settle(signal?.reason);
    };
    const wake = end(resolve);
    const abort = end(reject);
    const timer = setTimeout(wake, seconds * 1000);
    document.addEventListener("visibilitychange", wake);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
  });
}
