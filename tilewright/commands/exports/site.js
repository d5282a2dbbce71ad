// Shows the image whose tiles lie beside this page. It works from a disk too: nothing is fetched but scripts and images.
const image = JSON.parse(document.getElementById("image").textContent);

const viewer = OpenSeadragon({
  id: "picture",
  prefixUrl: "openseadragon/images/",
  tileSources: image.source,
  showNavigator: true,
  drawer: "canvas", // WebGL may not draw images of a page that was opened from a disk
  // For tiles with transparency: without it, seams show between them.
  subPixelRoundingForTransparency: OpenSeadragon.SUBPIXEL_ROUNDING_OCCURRENCES.ALWAYS,
});

viewer.world.addHandler("add-item", ({ item }) => {
  item.source.hasTransparency = () => image.isTransparent;
});
