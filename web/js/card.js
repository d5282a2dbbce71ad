/** The card of a dataset in the catalogue. */

import { deleteDataset, getDataset, viewUrl } from "./api.js";
import { confirmed } from "./confirm.js";
import { announce, el, icon } from "./dom.js";
import { day, size, when } from "./format.js";
import { laying } from "./laying.js";
import { LiveStatus } from "./live.js";

export class Card {
  #onGone;
  #shown = "";

  /** dataset: a dataset from the API. onGone: called with this card when the dataset is deleted, here or elsewhere. */
  constructor(dataset, { onGone }) {
    this.id = dataset.dataset_id;
    this.inSight = false;
    this.#onGone = () => onGone(this);
    this.live = new LiveStatus(this.id, dataset.name, {
      onStatus: (status) => this.#showStatus(status),
      onReady: () => this.#reload(),
      onGone: this.#onGone,
    });
    this.tiles = laying();
    this.picture = el("div", { class: "card-picture" }, this.tiles.element);
    this.link = el("a", { href: viewUrl(this.id) });
    this.meta = el("p", { class: "card-meta" });
    this.remove = el("button", { type: "button", class: "icon-button card-delete", onclick: () => this.#delete() }, icon("trash"));
    this.element = el(
      "li",
      { class: "card" },
      this.picture,
      el("div", { class: "card-head" }, el("h3", {}, this.link), this.remove),
      this.meta,
      this.live.element,
    );
    this.show(dataset);
  }

  get working() {
    return this.element.dataset.status === "processing";
  }

  /** Show a newer answer of the catalogue. Not for a card that is being followed: that one has newer data. */
  show(dataset) {
    const said = JSON.stringify([dataset.status, dataset.name, dataset.tile_urls, dataset.error, dataset.progress]);
    if (said === this.#shown) return;
    this.#shown = said;
    this.name = dataset.name;
    this.link.textContent = dataset.name;
    this.remove.setAttribute("aria-label", `Delete ${dataset.name}`);
    this.remove.title = "Delete";
    this.meta.replaceChildren(...meta(dataset));
    this.live.show(dataset);
    if (dataset.tile_urls?.thumbnail) {
      this.picture.replaceChildren(el("img", { src: dataset.tile_urls.thumbnail, alt: "", loading: "lazy", decoding: "async" }));
    }
  }

  #showStatus(status) {
    this.element.dataset.status = ["ready", "failed"].includes(status.status) ? status.status : "processing";
    this.tiles.fill(status.status === "failed" ? 0 : status.percent);
    this.tiles.show(status.preview_thumbnail);
  }

  async #reload() {
    try {
      this.show(await getDataset(this.id));
    } catch (error) {
      if (error.status === 404) this.#onGone();
    }
  }

  async #delete() {
    const agreed = await confirmed({
      title: `Delete “${this.name}”?`,
      text: "Its tiles are deleted, and links to it stop working. The original file stays at its own address.",
      agree: "Delete",
    });
    if (!agreed) return;
    this.remove.disabled = true;
    try {
      await deleteDataset(this.id);
    } catch (error) {
      if (error.status !== 404) {
        this.remove.disabled = false;
        announce(error.message);
        this.meta.replaceChildren(el("span", { class: "error" }, error.message));
        return;
      }
    }
    announce(`${this.name} deleted.`);
    this.#onGone();
  }
}

function meta(dataset) {
  const parts = [];
  if (dataset.tile_info?.width) parts.push(size(dataset.tile_info.width, dataset.tile_info.height));
  if (dataset.category) parts.push(dataset.category);
  if (dataset.created_at) parts.push(el("time", { datetime: dataset.created_at, title: when(dataset.created_at) }, day(dataset.created_at)));
  return parts.flatMap((part, position) => (position ? [" · ", part] : [part]));
}
