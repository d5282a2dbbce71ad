/** The catalogue: filters, search, pages, and cards that are updated while they are visible. */

import { collectionUrl, listDatasets } from "./api.js";
import { Card } from "./card.js";
import { announce } from "./dom.js";

const TYPING_PAUSE = 250; // ms without a key press before the search is sent
const PAGE = 24; // cards; fills rows of two, three and four
const REFRESH = 10_000; // ms; images that others submit appear within this time

export class Catalogue {
  #cards = new Map();
  #cursor = null;
  #request = null;
  #watcher = new IntersectionObserver((entries) => entries.forEach((entry) => this.#seen(entry)), { rootMargin: "100px" });

  /** parts: the page's own elements {list, empty, more, status, search, collection, problem}. */
  constructor(parts) {
    this.parts = parts;
    this.#restoreFilters();
    let typing;
    parts.search.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.load(), TYPING_PAUSE);
    });
    parts.status.addEventListener("change", () => this.load());
    parts.search.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.load();
    });
    parts.more.addEventListener("click", () => this.#loadMore());
    // No refresh while a request is in flight, because it would abort what the person asked for.
    const look = () => document.hidden || this.#request || this.refresh();
    setInterval(look, REFRESH);
    document.addEventListener("visibilitychange", look);
  }

  /** Load the first page again with the current filters. */
  async load() {
    this.#rememberFilters();
    this.#showCollection();
    const page = await this.#fetch({});
    if (!page) return;
    for (const card of [...this.#cards.values()]) this.#drop(card);
    this.#append(page);
    const found = page.next_cursor ? `${page.datasets.length} or more images` : `${page.datasets.length} images`;
    if (this.#filtered) announce(page.datasets.length === 1 ? "1 image found." : `${found} found.`);
  }

  /** Add new datasets from the first page, and leave the others in place. */
  async refresh() {
    const page = await this.#fetch({});
    if (!page) return;
    if (this.#cards.size === 0) this.#cursor = page.next_cursor;
    let before = this.parts.list.firstElementChild;
    for (const dataset of page.datasets) {
      const known = this.#cards.get(dataset.dataset_id);
      if (known) {
        if (!known.working || dataset.status !== "processing") known.show(dataset);
        this.#follow(known);
        before = known.element.nextElementSibling;
      } else {
        this.parts.list.insertBefore(this.#add(dataset).element, before);
      }
    }
    this.#showEmptiness();
  }

  get #filters() {
    return { status: this.parts.status.value, q: this.parts.search.value.trim() };
  }

  get #filtered() {
    return Object.values(this.#filters).some(Boolean);
  }

  async #loadMore() {
    const last = this.parts.list.lastElementChild;
    const page = await this.#fetch({ cursor: this.#cursor });
    if (!page) return;
    this.#append(page);
    last?.nextElementSibling?.querySelector("a")?.focus();
  }

  /** Return a page; null if a newer request replaced this one, or if it failed, which is shown. */
  async #fetch(extra) {
    this.#request?.abort();
    const request = (this.#request = new AbortController());
    try {
      const page = await listDatasets({ ...this.#filters, ...extra, limit: PAGE }, { signal: request.signal });
      this.#showProblem("");
      return page;
    } catch (error) {
      if (!request.signal.aborted) this.#showProblem(error.message);
      return null;
    } finally {
      if (this.#request === request) this.#request = null;
      this.parts.list.setAttribute("aria-busy", "false");
    }
  }

  #append(page) {
    this.#cursor = page.next_cursor;
    for (const dataset of page.datasets) {
      if (!this.#cards.has(dataset.dataset_id)) this.parts.list.append(this.#add(dataset).element);
    }
    this.#showEmptiness();
  }

  #add(dataset) {
    const card = new Card(dataset, { onGone: (gone) => this.#drop(gone) });
    card.element.card = card;
    this.#cards.set(card.id, card);
    this.#watcher.observe(card.element);
    return card;
  }

  #drop(card) {
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    const focused = card.element.contains(document.activeElement);
    card.live.stop();
    this.#watcher.unobserve(card.element);
    this.#cards.delete(card.id);
    card.element.remove();
    if (focused) (next?.querySelector("a") ?? this.parts.search).focus();
    this.#showEmptiness();
  }

  /** Poll only visible cards, so that a long catalogue costs the server no more than a screenful. */
  #seen(entry) {
    const { card } = entry.target;
    card.inSight = entry.isIntersecting;
    if (card.inSight) this.#follow(card);
    else card.live.stop();
  }

  #follow(card) {
    if (card.inSight && card.working) card.live.follow();
  }

  #showEmptiness() {
    this.parts.more.hidden = !this.#cursor;
    this.parts.empty.hidden = this.#cards.size > 0;
    this.parts.empty.textContent = this.#filtered
      ? "No images match. Try another word, or all states."
      : "No images yet. The first one you submit appears here.";
  }

  /** A IIIF collection has the images that are ready. */
  #showCollection() {
    const { status, q } = this.#filters;
    this.parts.collection.hidden = !q || !["", "ready"].includes(status);
    this.parts.collection.href = collectionUrl({ q });
  }

  #showProblem(text) {
    this.parts.problem.textContent = text;
    this.parts.problem.hidden = !text;
  }

  #restoreFilters() {
    const query = new URLSearchParams(location.search);
    this.parts.search.value = query.get("q") ?? "";
    this.parts.status.value = query.get("status") ?? "";
    if (this.parts.status.selectedIndex < 0) this.parts.status.value = "";
  }

  #rememberFilters() {
    const query = new URLSearchParams(Object.entries(this.#filters).filter(([, value]) => value));
    history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
  }
}
