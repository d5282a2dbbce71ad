import { TilewrightError } from "./errors.js";

const RETRIED = new Set([408, 425, 429, 500, 502, 503, 504]);

/** Milliseconds before the first repetition of a request. Each further one waits twice as long. */
const FIRST_PAUSE = 250;

/** Most milliseconds that a host's Retry-After is waited for. */
const LONGEST_PAUSE = 10_000;

/**
 * Sends requests: with the caller's headers and credentials, a time limit, and repetitions after what may pass.
 *
 * @param options.headers an object, or a function of the URL that returns one, also later
 */
export class Requests {
  constructor({ fetch, headers, credentials, cache, retries, timeout }) {
    this.fetch = fetch ?? ((...given) => globalThis.fetch(...given));
    this.headers = headers;
    this.credentials = credentials ?? "same-origin";
    // Chromium's cache serves ranges of one URL one after another, so tiles would wait for each other.
    this.cache = cache ?? "no-store";
    this.retries = retries ?? 3;
    this.timeout = timeout ?? 30_000;
  }

  /**
   * Return what `use` makes of the response to a request with `init`, as for fetch. Throws TilewrightError, or the signal's reason if it is aborted.
   *
   * `use` gets the response as soon as its headers are there. If it throws, the rest of the response is not read.
   */
  async get(url, init, signal, use) {
    for (let tries = 0; ; tries += 1) {
      const { error, result } = await this.#once(url, init, signal, use);
      if (error === undefined) {
        return result;
      }
      signal?.throwIfAborted();
      if (!error.mayPass || tries >= this.retries) {
        throw error.thrown;
      }
      await pause(error.pause ?? FIRST_PAUSE * 2 ** tries * (1 + Math.random()), signal);
    }
  }

  async #once(url, init, signal, use) {
    signal?.throwIfAborted();
    const controller = new AbortController();
    const abort = () => controller.abort(signal.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const timer = setTimeout(() => controller.abort(new Error(`no answer in ${this.timeout} ms`)), this.timeout);
    try {
      const given = typeof this.headers === "function" ? await this.headers(url) : this.headers;
      const response = await this.fetch(url, {
        cache: this.cache,
        ...init,
        headers: { ...given, ...init.headers },
        credentials: this.credentials,
        signal: controller.signal,
      });
      if (RETRIED.has(response.status)) {
        return { error: { mayPass: true, pause: retryAfter(response), thrown: refused(url, response.status) } };
      }
      if (!response.ok) {
        throw refused(url, response.status);
      }
      return { result: await use(response) };
    } catch (cause) {
      if (cause instanceof TilewrightError) {
        return { error: { mayPass: false, thrown: cause } };
      }
      return { error: { mayPass: true, thrown: unreachable(url, cause) } };
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      controller.abort(); // Without effect once the body was read. Otherwise the host need not send the rest.
    }
  }
}

/**
 * A file that is read by byte ranges. It has to stay the same: a tile of one build at the place of another would be
 * another tile.
 *
 * @param unchecked whether a host is accepted that sends nothing by which a change would be noticed
 */
export class RangeFile {
  constructor(url, requests, { unchecked = false } = {}) {
    this.url = url;
    this.size = undefined;
    this.requests = requests;
    this.unchecked = unchecked;
    this.version = undefined;
  }

  /** Return `length` bytes from `offset`, or fewer at the end of the file, as an ArrayBuffer. */
  async read(offset, length, signal) {
    const headers = { Range: `bytes=${offset}-${offset + length - 1}` };
    return this.requests.get(this.url, { headers }, signal, (response) => this.#bytes(response, offset, length));
  }

  async #bytes(response, offset, length) {
    const place = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(response.headers.get("Content-Range") ?? "");
    if (response.status !== 206 && !isSmall(response, offset, length)) {
      throw new TilewrightError(
        "no_ranges",
        `${this.url}: the host answered ${response.status} with the whole file, not 206 with the bytes asked for. ` +
          "Put the file on a host that supports range requests.",
        { url: this.url, status: response.status },
      );
    }
    this.#check(response, place);
    if (place !== null && Number(place[1]) !== offset) {
      throw this.#damaged(`the host sent bytes from ${place[1]}, not from ${offset}`);
    }
    const bytes = await response.arrayBuffer();
    if (bytes.byteLength > length) {
      throw this.#damaged(`the host sent ${bytes.byteLength} bytes instead of ${length}`);
    }
    return bytes;
  }

  /** Require the same file as before, by its ETag, else its date, and its size. */
  #check(response, place) {
    const size = place === null || place[3] === "*" ? undefined : Number(place[3]);
    const version = response.headers.get("ETag") ?? response.headers.get("Last-Modified") ?? undefined;
    if (this.unchecked) {
      this.size ??= size;
      return;
    }
    if (version === undefined && size === undefined) {
      throw new TilewrightError(
        "unverifiable",
        `${this.url}: the host shows neither ETag, Last-Modified nor Content-Range, so a changed file would not be ` +
          "noticed. Let the host's CORS rule expose ETag and Content-Range, or set the option `unchecked`.",
        { url: this.url },
      );
    }
    if (differs(this.version, version) || differs(this.size, size)) {
      throw new TilewrightError(
        "changed",
        `${this.url} was replaced since it was opened. Open the pyramid again.`,
        { url: this.url },
      );
    }
    this.version ??= version;
    this.size ??= size;
  }

  #damaged(what) {
    return new TilewrightError("damaged", `${this.url}: ${what}.`, { url: this.url });
  }
}

function differs(before, now) {
  return before !== undefined && now !== undefined && before !== now;
}

/** Whether a whole file is what was asked for: some hosts send 200 if a range covers all of a small file. */
function isSmall(response, offset, length) {
  const size = response.headers.get("Content-Length");
  return response.status === 200 && offset === 0 && size !== null && Number(size) <= length;
}

function refused(url, status) {
  return new TilewrightError("http_status", `${url}: the host answered ${status}.`, { url, status });
}

function unreachable(url, cause) {
  const origin = globalThis.location?.origin ?? "this page's origin";
  return new TilewrightError(
    "unreachable",
    `${url} cannot be read: the host does not answer, or its CORS rule does not allow GET with the header Range ` +
      `from ${origin} (${cause?.message ?? cause}).`,
    { url, cause },
  );
}

function retryAfter(response) {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  return seconds >= 0 ? Math.min(1000 * seconds, LONGEST_PAUSE) : undefined;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", abort, { once: true });
  });
}
