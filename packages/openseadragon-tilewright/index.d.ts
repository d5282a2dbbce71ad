/** The description of a pyramid, the content of its pyramid.json. It may have further fields. */
export interface PyramidDescription {
  width: number;
  height: number;
  tile_size: number;
  format: "jpg" | "png" | "webp";
  [field: string]: unknown;
}

export interface OpenOptions {
  /** The library. Default: the global `OpenSeadragon`. */
  OpenSeadragon?: unknown;
  /** Headers of every request, such as Authorization; or a function of the URL that returns them. */
  headers?: Record<string, string> | ((url: string) => Record<string, string> | Promise<Record<string, string>>);
  /** Whether cookies are sent, as for `fetch`. Default: "same-origin". */
  credentials?: RequestCredentials;
  /** The browser's cache of ranges, as for `fetch`. Default: "no-store", as Chromium's cache makes tiles wait for each other. */
  cache?: RequestCache;
  /** Returns the URL of a file, such as a signed one. Default: the file in the folder at the address. */
  resolve?: (name: "pyramid.json" | "tiles.idx" | "pyramid.szi") => string | Promise<string>;
  /** Whether tiles have transparency. Default: yes for PNG and WebP. */
  transparent?: boolean;
  /** How often a failed request is repeated. Default: 3. */
  retries?: number;
  /** Milliseconds that one request may take. Default: 30000. */
  timeout?: number;
  /** Pages of the index, of 16 KiB each, that are kept in memory. Default: 64. */
  pages?: number;
  /** Accept a host that sends nothing by which a replaced file would be noticed. Default: false. */
  unchecked?: boolean;
  /** Called with the error of each tile that failed. */
  onError?: (error: Error) => void;
  /** Aborts the opening. */
  signal?: AbortSignal;
  /** Sends the requests. Default: the global `fetch`. */
  fetch?: typeof fetch;
}

/** What `openPyramid` returns: a TileSource of OpenSeadragon, with the pyramid's description. */
export interface TilewrightTileSource {
  readonly pyramid: PyramidDescription;
  getTileUrl(level: number, x: number, y: number): string;
  hasTransparency(): boolean;
  [member: string]: any;
}

/**
 * Open a pyramid on a host for static files. Sends two small requests at once.
 *
 * @param address URL of the folder with pyramid.json, tiles.idx and pyramid.szi
 * @throws TilewrightError
 */
export function openPyramid(address: string | URL, options?: OpenOptions): Promise<TilewrightTileSource>;

export type ErrorCode =
  | "unreachable"
  | "http_status"
  | "no_ranges"
  | "unverifiable"
  | "changed"
  | "not_a_pyramid"
  | "damaged";

export class TilewrightError extends Error {
  readonly code: ErrorCode;
  /** URL of the file. */
  readonly url?: string;
  /** The HTTP status, if the host answered. */
  readonly status?: number;
}
