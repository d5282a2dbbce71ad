/** The viewer: OpenSeadragon with our controls, labels and keys. */

import { el, icon } from "./dom.js";
import { measuring } from "./measure.js";
import { bindPosition } from "./position.js";
import { metresOf, scaleBar } from "./scale.js";

const LIBRARY = new URL("../openseadragon/openseadragon.min.js", import.meta.url).href;
const ZOOM_STEP = 1.6;
const DEEPEST = 4; // screen pixels per pixel of the image: enough to count pixels, not yet a blur

const calm = matchMedia("(prefers-reduced-motion: reduce)");
let library = null;

/**
 * Open a dataset that is ready in an element.
 *
 * remember: keep the position in the URL's hash.
 * Returns the OpenSeadragon viewer. Throws Error if the viewer or the image cannot be loaded.
 */
export async function openViewer(stage, dataset, { remember = false } = {}) {
  const OpenSeadragon = await loadLibrary();
  const canvas = el("div", { class: "stage-canvas" });
  const notice = el("p", { class: "stage-notice", role: "status", hidden: true });
  stage.replaceChildren(canvas, notice);
  const isOpaque = dataset.tile_info.format === "jpg";
  const viewer = OpenSeadragon({
    element: canvas,
    tileSources: dataset.tile_urls.dzi,
    ...(isOpaque ? {} : forTransparency(OpenSeadragon)),
    showNavigationControl: false,
    showNavigator: true,
    navigatorPosition: "TOP_RIGHT",
    navigatorAutoFade: false,
    maxZoomPixelRatio: DEEPEST,
    minZoomImageRatio: 0.8,
    visibilityRatio: 0.5,
    animationTime: calm.matches ? 0 : 0.8,
    springStiffness: 8,
    immediateRender: calm.matches,
    blendTime: calm.matches ? 0 : 0.1,
    gestureSettingsTouch: { pinchRotate: false },
  });
  // OpenSeadragon itself expects transparency only of addresses that end in .png.
  viewer.world.addHandler("add-item", ({ item }) => {
    item.source.hasTransparency = () => !isOpaque;
  });
  await opened(viewer);
  describe(viewer, dataset.name);
  const metres = metresOf(dataset.tile_info.pixel_size);
  const bar = controls(viewer, stage);
  bar.lastChild.before(measuring(viewer, stage, metres));
  stage.append(bar);
  if (metres) stage.append(scaleBar(viewer, stage, metres));
  wireKeys(viewer, stage);
  viewer.addHandler("tile-load-failed", () => {
    notice.textContent = "Some tiles could not be loaded. Move the image to try again.";
    notice.hidden = false;
  });
  viewer.addHandler("tile-loaded", () => {
    notice.hidden = true;
  });
  if (remember) bindPosition(viewer);
  return viewer;
}

/**
 * Return what half-transparent tiles need: with WebGL, OpenSeadragon 6.1 draws them too bright, and tiles that begin
 * within a screen pixel are drawn twice there.
 */
function forTransparency(OpenSeadragon) {
  return { drawer: "canvas", subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS };
}

/** OpenSeadragon is a classic script that sets a global. It is loaded when the first image is opened. */
function loadLibrary() {
  library ??= new Promise((resolve, reject) => {
    const script = el("script", {
      src: LIBRARY,
      onload: () => resolve(window.OpenSeadragon),
      onerror: () => reject(new Error("The viewer could not be loaded. Reload the page to try again.")),
    });
    document.head.append(script);
  });
  library.catch(() => (library = null));
  return library;
}

function opened(viewer) {
  return new Promise((resolve, reject) => {
    viewer.addOnceHandler("open", resolve);
    viewer.addOnceHandler("open-failed", () => {
      viewer.destroy();
      reject(new Error("The image could not be opened. Reload the page to try again."));
    });
  });
}

function describe(viewer, name) {
  viewer.canvas.setAttribute("role", "application");
  viewer.canvas.setAttribute("aria-roledescription", "zoomable image");
  viewer.canvas.setAttribute("aria-label", `${name}. Arrow keys move, plus and minus zoom, 0 shows the whole image, m measures.`);
  viewer.navigator.element.setAttribute("aria-hidden", "true");
  for (const inner of viewer.navigator.element.querySelectorAll("[tabindex]")) inner.setAttribute("tabindex", "-1");
}

const zoom = (viewer, factor) => {
  viewer.viewport.zoomBy(factor);
  viewer.viewport.applyConstraints();
};
const turn = (viewer) => viewer.viewport.setRotation(viewer.viewport.getRotation() + 90);

function controls(viewer, stage) {
  const button = (label, symbol, onclick) =>
    el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick }, icon(symbol));
  const scale = el("output", { class: "stage-scale", "aria-label": "Scale" });
  const showScale = () => {
    const ratio = viewer.viewport.viewportToImageZoom(viewer.viewport.getZoom(true)) * 100;
    scale.textContent = `${ratio < 10 ? ratio.toFixed(1) : Math.round(ratio)}%`;
  };
  viewer.addHandler("zoom", showScale);
  viewer.addHandler("animation", showScale);
  viewer.addHandler("resize", showScale);
  showScale();
  const group = el(
    "div",
    { class: "stage-controls", role: "group", "aria-label": "Image controls" },
    button("Zoom in", "plus", () => zoom(viewer, ZOOM_STEP)),
    button("Zoom out", "minus", () => zoom(viewer, 1 / ZOOM_STEP)),
    button("Whole image", "fit", () => viewer.viewport.goHome()),
    button("Turn right", "rotate", () => turn(viewer)),
  );
  if (document.fullscreenEnabled) group.append(fullScreenButton(button, stage));
  group.append(scale);
  return group;
}

function fullScreenButton(button, stage) {
  const node = button("Full screen", "fullscreen", () => toggleFullScreen(stage));
  stage.addEventListener("fullscreenchange", () => {
    const full = document.fullscreenElement === stage;
    const label = full ? "Exit full screen" : "Full screen";
    node.replaceChildren(icon(full ? "leave" : "fullscreen"));
    node.setAttribute("aria-label", label);
    node.title = label;
  });
  return node;
}

function toggleFullScreen(stage) {
  return document.fullscreenElement === stage ? document.exitFullscreen() : stage.requestFullscreen();
}

/** Arrows, plus, minus, 0 and r are OpenSeadragon's keys. Its f mirrors the image; ours switches to full screen. */
function wireKeys(viewer, stage) {
  viewer.addHandler("canvas-key", (event) => {
    if (event.originalEvent.key.toLowerCase() !== "f") return;
    event.preventDefaultAction = true;
    if (document.fullscreenEnabled) toggleFullScreen(stage);
  });
}
