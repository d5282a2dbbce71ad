/** A host for static files, and a pyramid to put there. */

import { createServer } from "node:http";
import { once } from "node:events";
import { Geometry } from "../lib/geometry.js";

/** Files of a pyramid whose tiles are their own names, such as "12/3_4". */
export function pyramid(width, height, { tileSize = 256, format = "jpg", version = 1, gap = 0 } = {}) {
  const geometry = new Geometry(width, height, tileSize);
  const index = Buffer.alloc(16 + 16 * geometry.tileCount);
  index.write("TWIX", 0, "latin1");
  index.writeUInt32LE(version, 4);
  index.writeUInt32LE(geometry.tileCount, 8);
  const tiles = [];
  let offset = gap;
  let at = 16;
  geometry.levels.forEach(({ columns, rows }, level) => {
    for (let y = 0; y < rows; y += 1) {
      for (let x = 0; x < columns; x += 1) {
        const tile = Buffer.from(`${level}/${x}_${y}`);
        index.writeBigUInt64LE(BigInt(offset), at);
        index.writeUInt32LE(tile.length, at + 8);
        tiles.push(tile);
        offset += tile.length;
        at += 16;
      }
    }
  });
  const described = { width, height, tile_size: tileSize, overlap: 0, format };
  return {
    "/p/pyramid.json": Buffer.from(JSON.stringify(described)),
    "/p/tiles.idx": index,
    "/p/pyramid.szi": Buffer.concat([Buffer.alloc(gap), ...tiles]),
  };
}

/**
 * Serves files, and keeps what was requested: {path, range, headers, sent, aborted}.
 *
 * `host.answer`, if set, is called first with (request, response, entry). If it returns true, it has answered.
 */
export async function serve(files) {
  const host = { files, seen: [], etag: '"one"', expose: true, answer: undefined };
  const server = createServer((request, response) => {
    const path = new URL(request.url, "http://host").pathname;
    const entry = { path, url: request.url, range: request.headers.range, headers: request.headers, sent: 0, aborted: false };
    host.seen.push(entry);
    response.on("close", () => {
      entry.aborted = !response.writableFinished;
      host.closed?.(entry);
    });
    if (host.answer?.(request, response, entry)) {
      return;
    }
    const file = host.files[path];
    if (file === undefined) {
      response.writeHead(404).end();
      return;
    }
    const range = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "");
    const validator = host.etag === undefined ? {} : { ETag: host.etag };
    if (range === null) {
      entry.sent = file.length;
      response.writeHead(200, { ...validator, "Content-Length": file.length }).end(file);
      return;
    }
    const part = file.subarray(Number(range[1]), Number(range[2]) + 1);
    if (part.length === 0) {
      response.writeHead(416).end();
      return;
    }
    entry.sent = part.length;
    const place = host.expose ? { "Content-Range": `bytes ${range[1]}-${Number(range[1]) + part.length - 1}/${file.length}` } : {};
    response.writeHead(206, { ...validator, ...place, "Content-Length": part.length }).end(part);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  host.url = `http://127.0.0.1:${server.address().port}/p/`;
  host.close = () => {
    server.closeAllConnections();
    server.close();
  };
  return host;
}
