/**
 * A picture of tiles being laid, in the place where the thumbnail will be, and the preview over it once there is one.
 * Decoration: the progress bar says the same.
 */

import { svg } from "./dom.js";

const COLUMNS = 9;
const ROWS = 6;

/** Make the picture; `fill(percent)` lays as many tiles as are done, `show(address)` a preview. */
export function laying() {
  const tiles = [];
  for (let row = 0; row < ROWS; row += 1) {
    for (let column = 0; column < COLUMNS; column += 1) {
      tiles.push(svg("rect", { x: column + 0.05, y: row + 0.05, width: 0.9, height: 0.9, rx: 0.08 }));
    }
  }
  const element = svg(
    "svg",
    { viewBox: `0 0 ${COLUMNS} ${ROWS}`, class: "laying", preserveAspectRatio: "xMidYMid slice", "aria-hidden": "true" },
    ...tiles,
  );
  const fill = (percent) => {
    const laid = Math.floor(((percent ?? 0) / 100) * tiles.length);
    tiles.forEach((tile, position) => tile.classList.toggle("laid", position < laid));
  };
  let shown = null;
  const show = (address) => {
    if ((address ?? null) === shown) return;
    shown = address ?? null;
    element.querySelector("image")?.remove();
    if (!shown) return;
    const image = svg("image", { href: shown, width: COLUMNS, height: ROWS, class: "laying-preview" });
    // It may be gone with its run already; the tiles below are still there.
    image.addEventListener("error", () => image.remove());
    element.append(image);
  };
  return { element, fill, show };
}
