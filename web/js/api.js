/** The REST API as functions. An answer that is not a success is thrown as a Problem; no answer, as Unreachable. */

// This module is at …/assets/js/. All other URLs are relative to it, so they work behind a proxy that adds a prefix.
export const ROOT = new URL("../../", import.meta.url);

const DATASETS = new URL("api/datasets", ROOT).href;
const PATIENCE = 30_000; // ms; the API answers from memory or a row, so the connection is lost if it takes longer.

/** Thrown when the server answered with an error (application/problem+json, RFC 9457). The message is for people. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The server answered with error ${status}.`);
    this.name = "Problem";
    this.status = status;
    this.code = body.code ?? "";
    this.requestId = body.request_id ?? "";
    this.retryAfter = retryAfter;
    /** Field name → sentence, from the JSON pointers of `errors`. */
    this.fields = new Map(
      (body.errors ?? []).map((error) => [String(error.pointer ?? "").split("/").pop(), sentence(error.detail ?? error.message)]),
    );
  }

  /** Whether the same request may succeed in a moment, unchanged. */
  get passing() {
    return [429, 502, 503, 504].includes(this.status);
  }
}

/** Thrown when no answer arrived. */
export class Unreachable extends Error {
  constructor(cause) {
    super("Tilewright cannot be reached at the moment. Check that it is running.", { cause });
    this.name = "Unreachable";
    this.passing = true;
  }
}

/** Create a dataset. With the same `key`, the call can be repeated after a lost answer without creating another one. */
export async function createDataset(fields, key) {
  const response = await send(DATASETS, { method: "POST", body: fields, headers: { "Idempotency-Key": key } });
  return response.json();
}

/** Return a page of the catalogue: `{datasets, next_cursor}`. Empty filters are left out. */
export async function listDatasets(filters, { signal } = {}) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value));
  const response = await send(`${DATASETS}?${query}`, { signal });
  return response.json();
}

export async function getDataset(id, { signal } = {}) {
  const response = await send(path(id), { signal });
  return response.json();
}

/**
 * Poll a dataset's status once.
 *
 * Returns `{status, etag, retryAfter}`. `status` is null if nothing has changed since `etag`. `retryAfter` is the
 * server's Retry-After in seconds, or null.
 */
export async function getStatus(id, { etag, signal } = {}) {
  const headers = etag ? { "If-None-Match": etag } : {};
  const response = await send(statusUrl(id), { headers, signal });
  return {
    status: response.status === 304 ? null : await response.json(),
    etag: response.headers.get("ETag") ?? etag,
    retryAfter: seconds(response.headers.get("Retry-After")),
  };
}

/** Retry a dataset. `url` is a new URL of its source; empty: the present one. */
export const retryDataset = (id, url = "") => send(`${path(id)}/retry`, { method: "POST", body: url ? { url } : {} });
export const refreshDataset = async (id) => (await send(`${path(id)}/refresh`, { method: "POST" })).json();
export const getVersions = async (id) => (await (await send(`${path(id)}/versions`)).json()).versions;
export const cancelDataset = (id) => send(`${path(id)}/cancel`, { method: "POST" });
export const deleteDataset = (id) => send(path(id), { method: "DELETE" });

/** URLs that people open or copy. */
export const viewUrl = (id) => new URL(`view/${encodeURIComponent(id)}`, ROOT).href;
export const embedUrl = (id) => new URL(`embed/${encodeURIComponent(id)}`, ROOT).href;
export const collectionUrl = (filters) => new URL(`iiif/collections/all?${new URLSearchParams(filters)}`, ROOT).href;
export const statusUrl = (id) => `${path(id)}/status`;

const path = (id) => `${DATASETS}/${encodeURIComponent(id)}`;

async function send(url, { method = "GET", body, headers = {}, signal } = {}) {
  const limit = AbortSignal.timeout(PATIENCE);
  let response;
  try {
    response = await fetch(url, {
      method,
      headers: { Accept: "application/json", ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(error);
  }
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Problem(response.status, problem, seconds(response.headers.get("Retry-After")));
}

function seconds(header) {
  return header !== null && /^\d+$/.test(header) ? Number(header) : null;
}

function sentence(text = "This value is not accepted.") {
  const trimmed = String(text).trim();
  return trimmed.charAt(0).toUpperCase() + trimmed.slice(1) + (/[.!?]$/.test(trimmed) ? "" : ".");
}
