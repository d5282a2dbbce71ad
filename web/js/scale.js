/** The scale of an image: how screen and image correspond, and a bar that says how long a length on the screen is. */

import { el } from "./dom.js";
import { length } from "./format.js";

const METRES = { nm: 1e-9, "µm": 1e-6, mm: 1e-3, cm: 1e-2, m: 1, km: 1e3, in: 0.0254 };
const LONGEST = 150; // CSS pixels of the bar; less on a narrow screen
const PROBE = 100; // CSS pixels on the screen whose length in the image is measured

/** Return the size of a pixel in metres as {x, y}; null if it is unknown. */
export function metresOf(size) {
  const metres = METRES[size?.unit];
  return metres ? { x: size.x * metres, y: size.y * metres } : null;
}

/** Return the length of a vector in the image, in metres. Pixels need not be square. */
export const lengthOf = (metres, dx, dy) => Math.hypot(dx * metres.x, dy * metres.y);

/** Return the place in the image, in its pixels, at a place in the viewer, in CSS pixels: as it is drawn now. */
export function toImage(viewer, { x, y }) {
  const { viewport } = viewer;
  const pixel = viewport.getContainerSize();
  // OpenSeadragon draws a flipped image mirrored at the middle, and converts as if it did not.
  pixel.x = viewport.getFlip() ? pixel.x - x : x;
  pixel.y = y;
  return viewer.world.getItemAt(0).viewportToImageCoordinates(viewport.pointFromPixel(pixel, true));
}

/** Return the place in the viewer of a place in the image: the inverse of `toImage`. */
export function toScreen(viewer, { x, y }) {
  const { viewport } = viewer;
  const pixel = viewport.pixelFromPoint(viewer.world.getItemAt(0).imageToViewportCoordinates(x, y), true);
  if (viewport.getFlip()) pixel.x = viewport.getContainerSize().x - pixel.x;
  return pixel;
}

/** Call `show` now, and whenever the image may lie elsewhere on the screen. */
export function whenDrawn(viewer, show) {
  for (const event of ["update-viewport", "animation", "rotate", "flip", "resize"]) viewer.addHandler(event, show);
  show();
}

/** Return the longest length of 1, 2 or 5 times a power of ten that is not longer than `most`. */
export function roundLength(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  // A hair more, since 5 * 10 ** -7 and the like are not exact.
  return [5, 2, 1].map((step) => step * power).find((round) => round <= most * (1 + 1e-9)) ?? power;
}

/** Return a bar that always says how long it is in the image, along the screen's width. metres: see `metresOf`. */
export function scaleBar(viewer, stage, metres) {
  const label = el("span");
  const line = el("span", { class: "scale-line" });
  const bar = el("div", { class: "scale-bar", role: "img" }, label, line);
  const show = () => {
    const centre = viewer.viewport.getContainerSize().divide(2);
    if (!centre.x) return;
    const [from, to] = [-PROBE / 2, PROBE / 2].map((dx) => toImage(viewer, { x: centre.x + dx, y: centre.y }));
    const perPixel = lengthOf(metres, to.x - from.x, to.y - from.y) / PROBE;
    const round = roundLength(perPixel * Math.min(LONGEST, stage.clientWidth / 3));
    const text = length(round);
    line.style.width = `${round / perPixel}px`;
    if (label.textContent === text) return;
    label.textContent = text;
    bar.setAttribute("aria-label", `The bar is ${text} long`);
  };
  whenDrawn(viewer, show);
  return bar;
}
