// `npm run lock` resolves package.json, then keeps only the viewers themselves in the lock. Each of them contains a
// bundle that needs no other package, and their dependencies would take 400 MB.
import { readFileSync, writeFileSync } from "node:fs";

const file = new URL("package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(file, "utf8"));
const root = lock.packages[""];
const packages = { "": root };
for (const name of Object.keys(root.dependencies)) {
  const { name: original, version, integrity, license } = lock.packages[`node_modules/${name}`];
  packages[`node_modules/${name}`] = { name: original, version, integrity, license };
}
writeFileSync(file, JSON.stringify({ ...lock, packages }, null, 2) + "\n");
