import { loadBefore4 } from "./lib/loader.js";
import { Pyramid } from "./lib/pyramid.js";

export { TilewrightError } from "./lib/errors.js";

let opened = 0;

/**
 * Open a pyramid on a host for static files, and return it as a TileSource of OpenSeadragon.
 *
 * `address` is the URL of the folder with pyramid.json, tiles.idx and pyramid.szi. The options are described in
 * index.d.ts.
 */
export async function openPyramid(address, options = {}) {
  const OpenSeadragon = options.OpenSeadragon ?? globalThis.OpenSeadragon;
  if (OpenSeadragon === undefined) {
    throw new TypeError("OpenSeadragon is not loaded. Load it before, or give it as the option `OpenSeadragon`.");
  }
  return tileSource(OpenSeadragon, await Pyramid.open(address, options), options);
}

function tileSource(OpenSeadragon, pyramid, options) {
  const { geometry, format } = pyramid;
  const isTransparent = options.transparent ?? format !== "jpg";
  const source = new OpenSeadragon.TileSource({
    width: geometry.width,
    height: geometry.height,
    tileSize: geometry.tileSize,
    tileOverlap: 0,
    minLevel: 0,
    maxLevel: geometry.maxLevel,
  });
  source.pyramid = pyramid.description;

  // OpenSeadragon tells tiles apart by their URLs, and its versions before 4 take only .png for transparent.
  opened += 1;
  const prefix = `${pyramid.archive.url}#${opened}/`;
  source.getTileUrl = (level, x, y) => `${prefix}${level}/${x}_${y}.${isTransparent ? "png" : "jpg"}`;
  source.hasTransparency = () => isTransparent;

  const load = async (url, signal) => {
    const [level, x, y] = url.slice(prefix.length).split(/[/_.]/).map(Number);
    try {
      return await pyramid.tile(level, x, y, signal);
    } catch (error) {
      if (!signal.aborted) {
        options.onError?.(error);
      }
      throw error;
    }
  };
  if (OpenSeadragon.TileSource.prototype.downloadTileStart === undefined) {
    source.loadTile = load;
    loadBefore4(OpenSeadragon, prefix, load);
  } else {
    const takesBlobs = OpenSeadragon.version.major >= 6;
    source.downloadTileStart = (job) => start(job, load, takesBlobs);
    source.downloadTileAbort = (job) => job.userData.tilewright?.abort();
  }
  return source;
}

/** Load the tile of a job of OpenSeadragon's image loader. Says nothing more once the job was aborted or timed out. */
async function start(job, load, takesBlobs) {
  const controller = new AbortController();
  job.userData.tilewright = controller;
  // Its own timer ends the job, but tells nobody.
  const timer = job.timeout > 0 ? setTimeout(() => controller.abort(), job.timeout) : undefined;
  try {
    const blob = await load(job.src, controller.signal);
    const image = takesBlobs ? blob : await decode(blob);
    if (!controller.signal.aborted) {
      job.finish(image, null, takesBlobs ? "rasterBlob" : undefined);
    }
  } catch (error) {
    if (!controller.signal.aborted) {
      job.finish(null, null, error.message);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function decode(blob) {
  const image = new Image();
  image.src = URL.createObjectURL(blob);
  try {
    await image.decode();
  } finally {
    URL.revokeObjectURL(image.src);
  }
  return image;
}
