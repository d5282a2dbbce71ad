/** Measure distances: by dragging with Shift, with the button, or by the key m. Escape ends it. */

import { announce, el, icon, svg } from "./dom.js";
import { count, length } from "./format.js";
import { lengthOf, toImage, toScreen, whenDrawn } from "./scale.js";

const SHORTEST = 3; // CSS pixels; a shorter drag is a click with an unsteady hand
const TICK = 7; // CSS pixels from the line to each end of its ticks

/**
 * Let people measure in an OpenSeadragon viewer. metres: see scale.js; null: distances are in pixels of the image.
 *
 * Returns the button that makes every drag measure, for people without a Shift key.
 */
export function measuring(viewer, stage, metres) {
  const lines = ["measure-edge", "measure-line"].map((name) => svg("path", { class: name }));
  const drawing = svg("svg", { class: "measure", "aria-hidden": "true" }, ...lines);
  const label = el("output", { class: "measure-label", hidden: true });
  const button = el(
    "button",
    { type: "button", class: "icon-button", "aria-label": "Measure", title: "Measure (m)", "aria-pressed": "false" },
    icon("ruler"),
  );
  stage.append(drawing, label);

  let ends = null; // two places in the image
  let dragging = false;
  let following = false; // whether the second end is the middle of the screen: the keyboard moves the image
  let always = false;

  const middle = () => toImage(viewer, viewer.viewport.getContainerSize().divide(2));
  const distance = () => {
    const [dx, dy] = [ends[1].x - ends[0].x, ends[1].y - ends[0].y];
    return metres ? length(lengthOf(metres, dx, dy)) : `${count(Math.hypot(dx, dy))} px`;
  };

  const show = () => {
    if (following) ends[1] = middle();
    drawing.toggleAttribute("hidden", !ends);
    label.hidden = !ends;
    if (!ends) return;
    const [from, to] = ends.map((end) => toScreen(viewer, end));
    for (const line of lines) line.setAttribute("d", shape(from, to));
    label.textContent = distance();
    place(label, from, to, stage);
  };

  const end = () => {
    ends = null;
    dragging = following = false;
    show();
  };

  const finish = () => {
    dragging = following = false;
    show();
    announce(`The distance is ${distance()}.`);
  };

  viewer.addHandler("canvas-press", (event) => {
    if (!(always || event.originalEvent.shiftKey)) return;
    const at = toImage(viewer, event.position);
    ends = [at, at];
    dragging = true;
    following = false;
  });
  viewer.addHandler("canvas-drag", (event) => {
    if (!dragging) return;
    event.preventDefaultAction = true;
    ends[1] = toImage(viewer, event.position);
    show();
  });
  viewer.addHandler("canvas-drag-end", (event) => {
    if (dragging) event.preventDefaultAction = true;
  });
  viewer.addHandler("canvas-release", () => {
    if (!dragging) return;
    const [from, to] = ends.map((place) => toScreen(viewer, place));
    if (Math.hypot(to.x - from.x, to.y - from.y) < SHORTEST) end();
    else finish();
  });
  viewer.addHandler("canvas-pinch", () => dragging && end());

  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && (ends || always)) {
      end();
      setAlways(false);
    } else if (event.key.toLowerCase() === "m") {
      if (following) return finish();
      ends = [middle(), middle()];
      following = true;
      show();
      announce("Measuring from the middle. Move the image, then press m again.");
    }
  });

  const setAlways = (on) => {
    always = on;
    button.setAttribute("aria-pressed", String(on));
    stage.classList.toggle("measuring", on);
  };
  button.addEventListener("click", () => setAlways(!always));

  whenDrawn(viewer, show);
  return button;
}

/** Return the path of a line with a tick at each end. */
function shape(from, to) {
  const long = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const [dx, dy] = [(-(to.y - from.y) / long) * TICK, ((to.x - from.x) / long) * TICK];
  const tick = ({ x, y }) => `M${x - dx} ${y - dy}L${x + dx} ${y + dy}`;
  return `${tick(from)}M${from.x} ${from.y}L${to.x} ${to.y}${tick(to)}`;
}

/** Put the label beside the middle of the line, within the stage. */
function place(label, from, to, stage) {
  const [width, height] = [label.offsetWidth, label.offsetHeight];
  const clamp = (value, most) => Math.max(4, Math.min(value, most - 4));
  const x = (from.x + to.x) / 2 + 12;
  const y = (from.y + to.y) / 2 - height - 12;
  label.style.left = `${clamp(x, stage.clientWidth - width)}px`;
  label.style.top = `${clamp(y, stage.clientHeight - height)}px`;
}
