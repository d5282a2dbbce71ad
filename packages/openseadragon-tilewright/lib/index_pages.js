import { TilewrightError } from "./errors.js";
import { ENTRY_BYTES, HEADER_BYTES } from "./geometry.js";

/** Bytes of a page: 1,024 entries. The first page has all levels of at most 4,096 pixels, in tiles of 256. */
export const PAGE_BYTES = 16_384;

const MAGIC = 0x54574958; // "TWIX"
const VERSION = 1;

/** Most bytes of a tile. One of 512 x 512 pixels has at most an eighth of it; a damaged entry may name gigabytes. */
const LONGEST_TILE = 2 ** 24;

/**
 * Reads tiles.idx by pages, each at most once at a time, and keeps those used last.
 *
 * @param file a RangeFile
 * @param most the number of pages that are kept
 */
export class IndexPages {
  #pages = new Map(); // by page number, the one used last at the end

  constructor(file, most) {
    this.file = file;
    this.most = Math.max(1, most);
  }

  /** Return the counts in the header: {tiles, edgeTiles}. Reads the first page. */
  async header(signal) {
    const page = await this.#page(0, signal);
    if (page.byteLength < HEADER_BYTES || page.getUint32(0) !== MAGIC) {
      throw this.#error("not_a_pyramid", "it is no index of Tilewright");
    }
    if (page.getUint32(4, true) !== VERSION) {
      throw this.#error("not_a_pyramid", `version ${page.getUint32(4, true)} of the index is not known`);
    }
    const header = { tiles: page.getUint32(8, true), edgeTiles: page.getUint32(12, true) };
    const size = HEADER_BYTES + ENTRY_BYTES * (header.tiles + header.edgeTiles);
    if (this.file.size !== undefined && this.file.size !== size) {
      throw this.#error("damaged", `it has ${this.file.size} bytes instead of ${size}`);
    }
    return header;
  }

  /** Return where the tile at a position lies in pyramid.szi: {offset, length}. */
  async entry(position, signal) {
    const at = HEADER_BYTES + ENTRY_BYTES * position;
    const page = await this.#page(Math.floor(at / PAGE_BYTES), signal);
    const start = at % PAGE_BYTES;
    if (start + ENTRY_BYTES > page.byteLength) {
      throw this.#error("damaged", "it is cut short");
    }
    const offset = page.getUint32(start, true) + 2 ** 32 * page.getUint32(start + 4, true);
    const length = page.getUint32(start + 8, true);
    const part = page.getUint32(start + 12, true);
    if (part !== 0 || length === 0 || length > LONGEST_TILE || !Number.isSafeInteger(offset + length)) {
      throw this.#error("damaged", `entry ${position} is no place of a tile`);
    }
    return { offset, length };
  }

  async #page(number, signal) {
    signal?.throwIfAborted();
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = this.#load(number);
    }
    this.#pages.delete(number);
    this.#pages.set(number, page);
    this.#evict();
    return waitFor(page, signal);
  }

  #load(number) {
    const controller = new AbortController();
    const page = { waiting: 0, isLoaded: false, data: undefined };
    const forget = () => {
      if (this.#pages.get(number) === page) {
        this.#pages.delete(number);
      }
    };
    page.data = this.file.read(number * PAGE_BYTES, PAGE_BYTES, controller.signal).then(
      (bytes) => {
        page.isLoaded = true;
        return new DataView(bytes);
      },
      (error) => {
        forget(); // The next who wants it tries again.
        throw error;
      },
    );
    page.data.catch(() => {}); // Everyone who waits is told; there may be nobody left.
    page.abort = () => {
      forget();
      controller.abort();
    };
    return page;
  }

  #evict() {
    for (const [number, page] of this.#pages) {
      if (this.#pages.size <= this.most) {
        return;
      }
      if (page.isLoaded) {
        this.#pages.delete(number);
      }
    }
  }

  #error(code, what) {
    return new TilewrightError(code, `${this.file.url}: ${what}.`, { url: this.file.url });
  }
}

/** Wait for a page. Its request is aborted once all who waited for it have been. */
function waitFor(page, signal) {
  if (page.isLoaded || signal === undefined) {
    page.waiting += signal === undefined ? Infinity : 0; // Who has no signal never leaves.
    return page.data;
  }
  page.waiting += 1;
  return new Promise((resolve, reject) => {
    const leave = () => {
      page.waiting -= 1;
      reject(signal.reason);
      if (page.waiting === 0 && !page.isLoaded) {
        page.abort();
      }
    };
    signal.addEventListener("abort", leave, { once: true });
    page.data.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
