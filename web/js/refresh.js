/** Refreshing a dataset that is ready: a button, what is being done or came of it, and the versions that are kept. */

import { getVersions, refreshDataset } from "./api.js";
import { announce, el } from "./dom.js";
import { size, when } from "./format.js";
import { isRefreshing, waitUntilRefreshed } from "./wait.js";

/**
 * Return the element for a dataset.
 *
 * onChanged: called when the dataset shows other tiles.
 */
export function refreshing(dataset, { onChanged }) {
  const id = dataset.dataset_id;
  const said = el("p", { class: "refresh-said" });
  const versions = el("details", { class: "versions", hidden: true });
  const button = el("button", { type: "button", class: "small", "aria-label": `Refresh ${dataset.name}`, onclick: start }, "Refresh");

  function show({ refresh }) {
    const working = isRefreshing(refresh);
    button.disabled = working;
    said.textContent = refresh ? sentence(refresh) : "Fetch the source again, and show what has changed.";
  }

  async function start() {
    button.disabled = true;
    said.textContent = "Asking…";
    try {
      await follow(await refreshDataset(id));
    } catch (error) {
      said.textContent = error.message;
      button.disabled = false;
    }
  }

  async function follow(status) {
    show(status);
    const ended = await waitUntilRefreshed(id, { onStatus: show, onTrouble: (error) => (said.textContent = error.message) });
    if (ended.refresh?.state === "changed") {
      onChanged();
      return;
    }
    announce(said.textContent);
    button.focus();
  }

  async function list() {
    const found = await getVersions(id);
    if (found.length < 2) return;
    versions.replaceChildren(el("summary", {}, `${found.length} versions`), el("ul", {}, ...found.map(line)));
    versions.hidden = false;
  }

  show(dataset);
  list().catch(() => {}); // The list is an extra: without it the page is whole.
  if (isRefreshing(dataset.refresh)) follow(dataset).catch((error) => (said.textContent = error.message));
  return el("div", { class: "refresh" }, el("div", { class: "refresh-line" }, button, said), versions);
}

function sentence({ message, finished_at: at }) {
  return at ? `Last refresh ${when(at)}: ${message}` : message;
}

function line(version) {
  const dates = version.present ? `since ${when(version.created_at)}` : `until ${when(version.replaced_at)}`;
  const name = `${size(version.width, version.height)}, ${dates}`;
  return el("li", {}, el("a", { href: version.thumbnail }, name), version.present ? " (shown)" : null);
}
