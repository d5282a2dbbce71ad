import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Geometry } from "../lib/geometry.js";
import { Pyramid } from "../lib/pyramid.js";
import { pyramid, serve } from "./host.js";

const open = [];

async function hosted(files) {
  const host = await serve(files);
  open.push(host);
  return host;
}

afterEach(() => open.splice(0).forEach((host) => host.close()));

const quick = { retries: 0 };

test("a tile's place follows from the levels", () => {
  const geometry = new Geometry(700, 301, 256);
  assert.equal(geometry.maxLevel, 10);
  assert.equal(geometry.tileCount, 9 + 2 + 6); // 9 levels of one tile, 350 x 151, 700 x 301
  assert.equal(geometry.position(10, 0, 0), 11);
  assert.equal(geometry.position(10, 2, 1), 16);
  assert.throws(() => geometry.position(10, 3, 0), RangeError);
  assert.throws(() => geometry.position(11, 0, 0), RangeError);
  for (const size of [1, 2, 2 ** 31 - 1, 2 ** 31, 2 ** 33 + 1]) {
    assert.equal(2 ** new Geometry(size, 1, 256).maxLevel >= size, true);
  }
});

test("every tile is what the index says, and what is read twice is requested once", async () => {
  const host = await hosted(pyramid(1500, 1100));
  const opened = await Pyramid.open(host.url);
  const { geometry } = opened;
  for (const [level, { columns, rows }] of geometry.levels.entries()) {
    for (let y = 0; y < rows; y += 1) {
      for (let x = 0; x < columns; x += 1) {
        assert.equal(await (await opened.tile(level, x, y)).text(), `${level}/${x}_${y}`);
      }
    }
  }
  assert.equal((await opened.tile(11, 2, 1)).type, "image/jpeg");
  assert.equal(host.seen.filter(({ path }) => path.endsWith(".idx")).length, 1);
});

test("at ten gigapixels two small requests come before the first tile, also in the corner", async () => {
  const host = await hosted(pyramid(100_000, 100_000));
  const opened = await Pyramid.open(host.url);
  assert.deepEqual(host.seen.map(({ path }) => path).sort(), ["/p/pyramid.json", "/p/tiles.idx"]);
  assert.equal(await (await opened.tile(9, 0, 0)).text(), "9/0_0");
  assert.equal(host.seen.length, 3);
  const before = host.seen.reduce((sum, { path, sent }) => sum + (path.endsWith(".szi") ? 0 : sent), 0);
  assert.ok(before <= 65_536, `${before} bytes`);
  assert.equal(await (await opened.tile(17, 390, 390)).text(), "17/390_390");
  const read = host.seen.reduce((sum, { path, sent }) => sum + (path.endsWith(".idx") ? sent : 0), 0);
  assert.ok(read <= 65_536, `${read} bytes of ${host.files["/p/tiles.idx"].length}`);
});

test("tiles behind 4 GiB are found", async () => {
  const files = pyramid(100, 100);
  files["/p/tiles.idx"].writeBigUInt64LE(5n * 2n ** 32n + 7n, 16 + 16 * 7);
  const host = await hosted(files);
  const opened = await Pyramid.open(host.url, quick);
  await assert.rejects(opened.tile(7, 0, 0), { code: "http_status", status: 416 });
  assert.equal(host.seen.at(-1).range, "bytes=21474836487-21474836491");
});

test("the index is kept up to a number of pages", async () => {
  const host = await hosted(pyramid(20_000, 20_000));
  const opened = await Pyramid.open(host.url, { pages: 2 });
  const requested = () => host.seen.filter(({ path }) => path.endsWith(".idx")).length;
  for (const y of [0, 30, 60, 30, 60]) {
    await opened.tile(15, 0, y);
  }
  assert.equal(requested(), 4); // the first page, and three others
  await opened.tile(15, 0, 0);
  assert.equal(requested(), 5);
});

test("tiles of one page share its request, which ends when the last of them is not wanted any more", async () => {
  const host = await hosted(pyramid(20_000, 20_000));
  const opened = await Pyramid.open(host.url, quick);
  const waiting = new Promise((resolve) => {
    host.answer = (request, response, entry) => {
      resolve();
      return entry.path.endsWith(".idx"); // never answered
    };
  });
  const ended = new Promise((resolve) => (host.closed = resolve));
  const [one, two] = [new AbortController(), new AbortController()];
  const tiles = [opened.tile(15, 0, 60, one.signal), opened.tile(15, 1, 60, two.signal)];
  await waiting;
  one.abort(new Error("first"));
  await assert.rejects(tiles[0], /first/);
  assert.equal(host.seen.at(-1).aborted, false);
  two.abort(new Error("second"));
  await assert.rejects(tiles[1], /second/);
  assert.equal((await ended).aborted, true);
  assert.equal(host.seen.length, 3);
  // And who wants it later gets it
  host.answer = undefined;
  assert.equal(await (await opened.tile(15, 1, 60)).text(), "15/1_60");
});

test("what may pass is tried again, as often as said", async () => {
  const host = await hosted(pyramid(700, 301));
  let left = 2;
  host.answer = (request, response, entry) => {
    if (!entry.path.endsWith(".szi") || left === 0) {
      return false;
    }
    left -= 1;
    if (left === 0) {
      response.destroy();
    } else {
      response.writeHead(503, { "Retry-After": "0" }).end();
    }
    return true;
  };
  const opened = await Pyramid.open(host.url, { retries: 2 });
  assert.equal(await (await opened.tile(10, 1, 1)).text(), "10/1_1");
  left = 9;
  await assert.rejects((await Pyramid.open(host.url, { retries: 1 })).tile(0, 0, 0), { code: "http_status", status: 503 });
  assert.equal(left, 7);
});

test("an error that stays is not tried again", async () => {
  const host = await hosted({});
  await assert.rejects(Pyramid.open(host.url), { code: "http_status", status: 404 });
  const paths = host.seen.map(({ path }) => path);
  assert.equal(new Set(paths).size, paths.length);
  host.close();
  await assert.rejects(Pyramid.open(host.url, quick), { code: "unreachable", message: /CORS/ });
});

test("a host that sends whole files is refused, and the rest of the file is not read", async () => {
  const files = pyramid(20_000, 20_000);
  const host = await hosted(files);
  host.answer = (request, response, entry) => {
    if (!entry.path.endsWith(".szi")) {
      return false;
    }
    response.writeHead(200, { "Content-Length": 2 ** 33, ETag: '"one"' });
    response.write("x".repeat(1000));
    return true;
  };
  const ended = new Promise((resolve) => {
    host.closed = (entry) => entry.path.endsWith(".szi") && resolve(entry);
  });
  const opened = await Pyramid.open(host.url);
  await assert.rejects(opened.tile(0, 0, 0), { code: "no_ranges", message: /supports range requests/ });
  assert.equal((await ended).aborted, true);
  assert.equal(host.seen.length, 3);
});

test("a small file may come whole", async () => {
  const host = await hosted(pyramid(700, 301));
  host.answer = (request, response, entry) => {
    if (!entry.path.endsWith(".idx")) {
      return false;
    }
    const file = host.files[entry.path];
    response.writeHead(200, { "Content-Length": file.length, ETag: '"one"' }).end(file);
    return true;
  };
  assert.equal(await (await (await Pyramid.open(host.url)).tile(10, 1, 0)).text(), "10/1_0");
});

test("a file that was replaced is noticed, by its ETag or by its size", async () => {
  const host = await hosted(pyramid(20_000, 20_000));
  const opened = await Pyramid.open(host.url);
  await opened.tile(0, 0, 0);
  host.etag = '"two"';
  await assert.rejects(opened.tile(0, 0, 0), { code: "changed", message: /pyramid\.szi was replaced/ });
  await assert.rejects(opened.tile(15, 0, 60), { code: "changed", message: /tiles\.idx was replaced/ });
  host.etag = undefined;
  host.files["/p/pyramid.szi"] = Buffer.concat([host.files["/p/pyramid.szi"], Buffer.from("x")]);
  await assert.rejects(opened.tile(0, 0, 0), { code: "changed" });
});

test("a host by which no change would be noticed is accepted only on request", async () => {
  const host = await hosted(pyramid(700, 301));
  host.etag = undefined;
  host.expose = false;
  await assert.rejects(Pyramid.open(host.url), { code: "unverifiable", message: /expose ETag and Content-Range/ });
  const opened = await Pyramid.open(host.url, { unchecked: true });
  assert.equal(await (await opened.tile(10, 1, 1)).text(), "10/1_1");
});

test("files that do not belong together, or are none of ours, are refused", async () => {
  const host = await hosted(pyramid(700, 301));
  const whole = { ...host.files };
  const refusals = {
    damaged: [
      ["/p/pyramid.json", pyramid(900, 301)["/p/pyramid.json"]],
      ["/p/tiles.idx", whole["/p/tiles.idx"].subarray(0, 100)],
    ],
    not_a_pyramid: [
      ["/p/pyramid.json", Buffer.from("<html>")],
      ["/p/pyramid.json", Buffer.from('{"width": 700, "height": 301, "tile_size": 256, "format": "__proto__"}')],
      ["/p/pyramid.json", Buffer.from("null")],
      ["/p/pyramid.json", Buffer.from('{"width": 700, "height": 301, "tile_size": 256, "format": "jpg", "overlap": 1}')],
      ["/p/tiles.idx", Buffer.from("something else, of some length")],
      ["/p/tiles.idx", pyramid(700, 301, { version: 2 })["/p/tiles.idx"]],
    ],
  };
  for (const [code, files] of Object.entries(refusals)) {
    for (const [path, content] of files) {
      host.files = { ...whole, [path]: content };
      await assert.rejects(Pyramid.open(host.url), { name: "TilewrightError", code }, path);
    }
  }
  // And entries that are no tiles
  for (const [at, value] of [[8, 0], [8, 2 ** 31], [12, 1]]) {
    host.files = { ...whole, "/p/tiles.idx": Buffer.from(whole["/p/tiles.idx"]) };
    host.files["/p/tiles.idx"].writeUInt32LE(value, 16 + at);
    await assert.rejects((await Pyramid.open(host.url)).tile(0, 0, 0), { code: "damaged" });
  }
  host.files = { ...whole, "/p/pyramid.szi": whole["/p/pyramid.szi"].subarray(0, -2) };
  await assert.rejects((await Pyramid.open(host.url)).tile(10, 2, 1), { code: "damaged" });
});

test("a request that takes too long is given up", async () => {
  const host = await hosted(pyramid(700, 301));
  host.answer = (request, response, entry) => entry.path.endsWith(".szi");
  const opened = await Pyramid.open(host.url, { retries: 0, timeout: 100 });
  await assert.rejects(opened.tile(0, 0, 0), { code: "unreachable", message: /no answer in 100 ms/ });
});

test("headers, credentials and signed URLs are the caller's", async () => {
  const host = await hosted(pyramid(700, 301));
  const given = [];
  const opened = await Pyramid.open(`${host.url}pyramid.json?x=1#y`, {
    headers: async (url) => ({ Authorization: `for ${new URL(url).pathname}` }),
    credentials: "include",
    fetch: (url, init) => {
      given.push(init.credentials);
      return fetch(url, init);
    },
  });
  await opened.tile(0, 0, 0);
  assert.deepEqual(given, ["include", "include", "include"]);
  for (const { path, headers } of host.seen) {
    assert.equal(headers.authorization, `for ${path}`);
  }
  await Pyramid.open("unused", { resolve: (name) => `${host.url}${name}?signature=${name.length}` });
  assert.deepEqual(host.seen.slice(3).map(({ url }) => url).sort(), [
    "/p/pyramid.json?signature=12",
    "/p/tiles.idx?signature=9",
  ]);
});
