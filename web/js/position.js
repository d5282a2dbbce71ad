/** The position in the image as the URL's hash: `#x=5400&y=2700&w=1200`, in pixels of the image; `&r=90` if rotated. */

const WRITING_PAUSE = 200; // ms; browsers limit how often the URL may change

/** Return {x, y, w, r}: the centre, the visible width, and degrees. Null if the hash has no position. */
export function parsePosition(hash) {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const [x, y, w] = ["x", "y", "w"].map((key) => (query.has(key) ? Number(query.get(key)) : NaN));
  const r = Number(query.get("r") ?? 0);
  if (![x, y, w, r].every(Number.isFinite) || w <= 0) return null;
  return { x, y, w, r };
}

export function formatPosition({ x, y, w, r }) {
  const turned = r ? `&r=${Math.round(r)}` : "";
  return `#x=${Math.round(x)}&y=${Math.round(y)}&w=${Math.max(1, Math.round(w))}${turned}`;
}

/** Move an OpenSeadragon viewer to the position in the hash, then keep both in sync. */
export function bindPosition(viewer) {
  const { viewport } = viewer;
  const pictureWidth = viewer.world.getItemAt(0).getContentSize().x; // In viewport coordinates the image is 1 wide.

  const restore = (immediately) => {
    const position = parsePosition(location.hash);
    if (!position) return;
    viewport.setRotation(position.r, immediately);
    viewport.zoomTo(pictureWidth / position.w, null, immediately);
    viewport.panTo({ x: position.x / pictureWidth, y: position.y / pictureWidth }, immediately);
    viewport.applyConstraints(immediately);
  };

  let writing;
  const remember = () => {
    clearTimeout(writing);
    writing = setTimeout(() => {
      const centre = viewport.getCenter();
      const position = {
        x: centre.x * pictureWidth,
        y: centre.y * pictureWidth,
        w: pictureWidth / viewport.getZoom(),
        r: viewport.getRotation() % 360,
      };
      history.replaceState(null, "", formatPosition(position));
    }, WRITING_PAUSE);
  };

  restore(true);
  viewer.addHandler("animation-finish", remember);
  viewer.addHandler("rotate", remember);
  window.addEventListener("hashchange", () => restore(false));
}
