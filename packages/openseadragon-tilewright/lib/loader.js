/**
 * Lets the image loaders of OpenSeadragon 2.4 and 3 load tiles of this package. From 4 on, a tile source may load its
 * tiles itself; before, a loader knows URLs only. So a tile is read first, and the loader gets the URL of its blob.
 */

const installed = new WeakSet();
const sources = new Map(); // by prefix: a WeakRef to the function that loads a source's tiles
const underWay = new WeakMap(); // by loader: the AbortControllers of its tiles

/**
 * Let all image loaders load the tiles whose URLs begin with a prefix.
 *
 * @param load returns a promise of a Blob for (url, signal). It is loaded by as long as somebody else keeps it.
 */
export function loadBefore4(OpenSeadragon, prefix, load) {
  sources.set(prefix, new WeakRef(load));
  const loader = OpenSeadragon.ImageLoader.prototype;
  if (installed.has(loader)) {
    return;
  }
  installed.add(loader);
  const { addJob, clear } = loader;

  loader.addJob = function addTileJob(options) {
    const load = sources.get(String(options.src).replace(/[^/]*\/[^/]*$/, ""))?.deref();
    if (load === undefined) {
      addJob.call(this, options);
      return;
    }
    const controller = new AbortController();
    const mine = underWay.get(this) ?? new Set();
    underWay.set(this, mine.add(controller));
    load(options.src, controller.signal).then(
      (blob) => {
        mine.delete(controller);
        const url = URL.createObjectURL(blob);
        const callback = (...result) => {
          URL.revokeObjectURL(url);
          options.callback(...result);
        };
        addJob.call(this, { ...options, src: url, loadWithAjax: false, ajaxHeaders: null, callback });
      },
      (error) => {
        mine.delete(controller);
        if (controller.signal.aborted) {
          options.abort?.();
        } else {
          options.callback(null, error.message);
        }
      },
    );
  };

  loader.clear = function clearTiles() {
    for (const controller of underWay.get(this) ?? []) {
      controller.abort();
    }
    clear.call(this);
  };
}
