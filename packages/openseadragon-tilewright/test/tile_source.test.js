import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { openPyramid } from "../index.js";
import { pyramid, serve } from "./host.js";

/** As much of OpenSeadragon 6 as a tile source meets. Real versions are tested in a browser, from tests/acceptance. */
class TileSource {
  constructor(options) {
    Object.assign(this, options);
  }

  downloadTileStart() {}
}

const OpenSeadragon = { TileSource, version: { major: 6 } };
let host;

beforeEach(async () => (host = await serve(pyramid(700, 301))));
afterEach(() => host.close());

function job(source, level, x, y) {
  const made = { src: source.getTileUrl(level, x, y), userData: {}, timeout: 60_000, ended: [] };
  made.done = new Promise((resolve) => {
    made.finish = (...given) => {
      made.ended.push(given);
      resolve();
    };
  });
  source.downloadTileStart(made);
  return made;
}

test("a tile source has the image's levels, and loads tiles as blobs", async () => {
  const source = await openPyramid(host.url, { OpenSeadragon });
  assert.deepEqual([source.width, source.height, source.tileSize, source.maxLevel], [700, 301, 256, 10]);
  assert.equal(source.pyramid.format, "jpg");
  const loaded = job(source, 10, 2, 1);
  await loaded.done;
  const [[blob, request, type]] = loaded.ended;
  assert.equal(await blob.text(), "10/2_1");
  assert.deepEqual([request, type], [null, "rasterBlob"]);
});

test("a tile that OpenSeadragon aborts is aborted at the host, and says nothing", async () => {
  const source = await openPyramid(host.url, { OpenSeadragon });
  const arrived = new Promise((resolve) => {
    host.answer = () => {
      resolve();
      return true;
    };
  });
  const ended = new Promise((resolve) => (host.closed = resolve));
  const aborted = job(source, 10, 2, 1);
  await arrived;
  source.downloadTileAbort(aborted);
  assert.equal((await ended).aborted, true);
  assert.deepEqual(aborted.ended, []);
});

test("a tile that fails says why, to OpenSeadragon and to the page", async () => {
  const told = [];
  const source = await openPyramid(host.url, { OpenSeadragon, onError: (error) => told.push(error.code) });
  delete host.files["/p/pyramid.szi"];
  const failed = job(source, 10, 2, 1);
  await failed.done;
  assert.deepEqual(failed.ended, [[null, null, `${host.url}pyramid.szi: the host answered 404.`]]);
  assert.deepEqual(told, ["http_status"]);
});

test("tiles are transparent by their format, unless said otherwise", async () => {
  const png = async (options) => {
    host.files = pyramid(700, 301, { format: "png" });
    return openPyramid(host.url, { OpenSeadragon, ...options });
  };
  const opaque = await openPyramid(host.url, { OpenSeadragon });
  assert.equal(opaque.hasTransparency(), false);
  assert.doesNotMatch(opaque.getTileUrl(0, 0, 0), /.png/);
  const clear = await png();
  assert.equal(clear.hasTransparency(), true);
  assert.match(clear.getTileUrl(0, 0, 0), /\.png$/);
  assert.equal((await png({ transparent: false })).hasTransparency(), false);
  assert.notEqual(clear.getTileUrl(0, 0, 0), (await png()).getTileUrl(0, 0, 0));
});

test("without OpenSeadragon the error says so", async () => {
  await assert.rejects(openPyramid(host.url), /OpenSeadragon is not loaded/);
});
