/** The pages of a dataset of several: which one the URL names, and the links to the others. */

import { el } from "./dom.js";

/** Return the number of the page in a URL's query, from 0: `?page=2`. A number that there is not is the first page. */
export function pageOf(search, pages) {
  const number = Number(new URLSearchParams(search).get("page"));
  return Number.isInteger(number) && number > 0 && number < pages.length ? number : 0;
}

/** Return the query of a page's URL: none for the first page. */
export const searchOf = (number) => (number > 0 ? `?page=${number}` : "");

/** Return the dataset as if the page were its only one. */
export function onlyPage(dataset, number) {
  const page = dataset.pages[number];
  const name = `${dataset.name}, page ${number + 1} of ${dataset.pages.length}`;
  return { ...dataset, name, tile_info: page, tile_urls: { dzi: page.dzi, xyz: page.xyz, thumbnail: page.thumbnail } };
}

/** Return links to the page before and the one after, which the keys Page Up and Page Down follow too. */
export function pager(number, count) {
  const link = (label, sign, to) => {
    const there = to >= 0 && to < count;
    return el("a", there ? { class: "icon-button", href: location.pathname + searchOf(to), "aria-label": label, title: label } : { class: "icon-button", role: "link", "aria-disabled": "true", "aria-label": label }, sign);
  };
  const before = link("Previous page", "‹", number - 1);
  const after = link("Next page", "›", number + 1);
  document.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const wanted = { PageUp: before, PageDown: after }[event.key];
    if (!wanted?.href) return;
    event.preventDefault();
    wanted.click();
  });
  return el("nav", { class: "stage-pages", "aria-label": "Pages" }, before, el("span", {}, `Page ${number + 1} of ${count}`), after);
}
