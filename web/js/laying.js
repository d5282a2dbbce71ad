/**
 * A drawing of tiles being laid, in the place of the thumbnail, covered by the preview once there is one.
 * It is decoration: the progress bar has the same information.
 */

import { svg } from "./dom.js";

const COLUMNS = 9;
const ROWS = 6;

/** Return `{element, fill, show}`: `fill(percent)` lays that share of the tiles, `show(address)` shows a preview. */
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
    // The preview may already be deleted; the drawn tiles then show again.
    image.addEventListener("error", () => image.remove());
    element.append(image);
  };
  return { element, fill, show };
}
