import { TilewrightError } from "./errors.js";
import { Geometry } from "./geometry.js";
import { IndexPages } from "./index_pages.js";
import { RangeFile, Requests } from "./range_file.js";

const MEDIA_TYPES = { jpg: "image/jpeg", png: "image/png", webp: "image/webp" };

/** Pages of the index that are kept by default: 1 MiB, the places of 65,536 tiles. */
const PAGES = 64;

/** A pyramid on a host for static files. `Pyramid.open` reads its description and the first page of its index. */
export class Pyramid {
  constructor(description, geometry, index, archive) {
    this.description = description;
    this.geometry = geometry;
    this.format = description.format;
    this.index = index;
    this.archive = archive;
  }

  /** Open the pyramid in a folder. Sends two requests at once. Throws TilewrightError. */
  static async open(address, options = {}) {
    const urlOf = options.resolve ?? ((name) => new URL(name, folderOf(address)).href);
    const [describedAt, indexAt, archiveAt] = await Promise.all(
      ["pyramid.json", "tiles.idx", "pyramid.szi"].map((name) => urlOf(name)),
    );
    const requests = new Requests(options);
    const index = new IndexPages(new RangeFile(indexAt, requests, options), options.pages ?? PAGES);
    const [description, header] = await together(options.signal, [
      (signal) => describe(describedAt, requests, signal),
      (signal) => index.header(signal),
    ]);
    const geometry = new Geometry(description.width, description.height, description.tile_size);
    if (geometry.tileCount !== header.tiles) {
      throw new TilewrightError(
        "damaged",
        `${indexAt} has ${header.tiles} tiles, but the image of ${describedAt} has ${geometry.tileCount}. ` +
          "They are of different pyramids, or one was replaced just now: open the pyramid again.",
        { url: indexAt },
      );
    }
    return new Pyramid(description, geometry, index, new RangeFile(archiveAt, requests, options));
  }

  /** Return a tile as a Blob. Throws TilewrightError, RangeError, or the signal's reason. */
  async tile(level, x, y, signal) {
    const { offset, length } = await this.index.entry(this.geometry.position(level, x, y), signal);
    const bytes = await this.archive.read(offset, length, signal);
    if (bytes.byteLength !== length) {
      throw new TilewrightError("damaged", `${this.archive.url} ends within a tile.`, { url: this.archive.url });
    }
    return new Blob([bytes], { type: MEDIA_TYPES[this.format] });
  }
}

/** Do several things at once. If one fails, the others are aborted. */
async function together(signal, things) {
  const controller = new AbortController();
  const abort = () => controller.abort(signal.reason);
  signal?.throwIfAborted();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.all(things.map((thing) => thing(controller.signal)));
  } finally {
    signal?.removeEventListener("abort", abort);
    controller.abort();
  }
}

function folderOf(address) {
  const url = new URL(address, globalThis.location?.href);
  url.search = url.hash = "";
  url.pathname = url.pathname.endsWith("/pyramid.json") ? url.pathname.slice(0, -"pyramid.json".length) : url.pathname;
  url.pathname += url.pathname.endsWith("/") ? "" : "/";
  return url;
}

async function describe(url, requests, signal) {
  const text = await requests.get(url, { cache: "no-cache" }, signal, (response) => response.text());
  let described;
  try {
    described = JSON.parse(text);
  } catch (cause) {
    throw new TilewrightError("not_a_pyramid", `${url} is not JSON.`, { url, cause });
  }
  const { width, height, tile_size: tileSize, format, overlap = 0 } = described ?? {};
  const isSane = [width, height, tileSize].every((size) => Number.isSafeInteger(size) && size > 0);
  if (!isSane || overlap !== 0 || !Object.hasOwn(MEDIA_TYPES, format)) {
    throw new TilewrightError("not_a_pyramid", `${url} does not describe a pyramid of Tilewright.`, { url });
  }
  return described;
}
