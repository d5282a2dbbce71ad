/** The page of one dataset: its progress until it is ready, then the image in the viewer. */

import { embedUrl, getDataset, ROOT, statusUrl, viewUrl } from "./api.js";
import { copyField } from "./copy.js";
import { el, sourceLink } from "./dom.js";
import { count, decoded, length, number, pixels, size, when } from "./format.js";
import { laying } from "./laying.js";
import { LiveStatus } from "./live.js";
import { onlyPage, pageOf, pager, searchOf } from "./pages.js";
import { metresOf } from "./scale.js";
import { refreshing } from "./refresh.js";
import { openViewer } from "./viewer.js";

const byId = (id) => document.getElementById(id);
const id = decoded(location.pathname.split("/").pop());
const embedded = location.pathname.split("/").at(-2) === "embed";
const stage = byId("stage");
const tiles = laying();

document.documentElement.classList.toggle("framed", embedded);
start();

async function start() {
  try {
    const dataset = await getDataset(id);
    const pages = dataset.pages ?? [];
    const number = pageOf(location.search, pages);
    const shown = pages.length > 1 ? onlyPage(dataset, number) : dataset;
    showDataset(shown, number);
    if (dataset.status === "ready") await showPicture(shown);
    else await showProgress(dataset);
    if (pages.length > 1) stage.append(pager(number, pages.length));
  } catch (error) {
    if (error.status === 404) showGone();
    else showMessage("Something went wrong", error.message);
  }
}

async function showProgress(dataset) {
  const live = new LiveStatus(id, dataset.name, {
    onStatus: (status) => {
      tiles.fill(status.status === "failed" ? 0 : status.percent);
      tiles.show(status.preview);
    },
    onReady: start,
    onGone: showGone,
    readOnly: embedded,
  });
  stage.replaceChildren(tiles.element, el("div", { class: "stage-card" }, el("h2", {}, dataset.name), live.element));
  live.show(dataset);
  await live.follow();
}

async function showPicture(dataset) {
  const viewer = await openViewer(stage, dataset, { remember: true });
  // Focus the image so that its keys work at once, unless the person has already focused something else.
  if (document.activeElement === document.body) viewer.canvas.focus({ preventScroll: true });
}

function showGone() {
  document.title = "Not found · Tilewright";
  byId("title").textContent = "Not found";
  byId("details").hidden = true;
  showMessage("There is no image here", "The address may be mistyped, or the image was deleted.");
}

function showMessage(title, text) {
  const back = embedded ? null : el("a", { class: "button", href: ROOT.href }, "All images");
  stage.replaceChildren(el("div", { class: "stage-card", role: "alert" }, el("h2", {}, title), el("p", {}, text), back));
}

function showDataset(dataset, number) {
  document.title = `${dataset.name} · Tilewright`;
  byId("title").textContent = dataset.name;
  byId("description").textContent = dataset.description;
  byId("facts").replaceChildren(...facts(dataset).flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, value)]));
  byId("addresses").replaceChildren(...addresses(dataset, number));
  // The tiles that are shown are of one version, so the page is opened again for another one.
  const refresh = dataset.status === "ready" && !embedded ? refreshing(dataset, { onChanged: () => location.reload() }) : null;
  byId("refresh").replaceChildren(...(refresh ? [refresh] : []));
  byId("details").hidden = false;
}

/** Return pairs of term and value; unknown values are left out. */
function facts(dataset) {
  const info = dataset.tile_info;
  const pairs = [];
  if (info) {
    pairs.push(["Size", size(info.width, info.height)], ["Pixels", pixels(info.width, info.height)]);
    const metres = metresOf(info.pixel_size);
    if (metres) {
      const { x, y, unit } = info.pixel_size;
      pairs.push(["Pixel size", x === y ? `${number(x)} ${unit}` : `${number(x)} × ${number(y)} ${unit}`]);
      pairs.push(["Real size", `${length(info.width * metres.x)} × ${length(info.height * metres.y)}`]);
    }
    const bounds = dataset.georeference?.bounds;
    if (bounds) {
      const [west, south, east, north] = bounds.map((degrees) => degrees.toFixed(4));
      pairs.push(["Bounds", `${south}, ${west} to ${north}, ${east}`]);
    } else if (dataset.georeference) {
      pairs.push(["Bounds", "in a system that was not converted"]);
    }
    pairs.push(["Tiles", `${info.tile_size} px, ${info.format}, zoom 0 to ${count(info.max_zoom)}`]);
  }
  if (dataset.category) pairs.push(["Category", dataset.category]);
  if (dataset.subject) pairs.push(["Subject", dataset.subject]);
  if (dataset.attribution) pairs.push(["Attribution", statement(dataset.attribution)]);
  if (dataset.rights) pairs.push(["Rights", statement(dataset.rights)]);
  if (dataset.reference) pairs.push(["Reference", dataset.reference]);
  if (dataset.tags?.length) pairs.push(["Tags", dataset.tags.join(", ")]);
  for (const [key, value] of Object.entries(dataset.metadata ?? {})) pairs.push([key, value]);
  const used = dataset.stretch;
  if (used) pairs.push(["Samples shown", `${number(used.low)} to ${number(used.high)} (${used.rule})`]);
  for (const { number: at, name, colour, rule, low, high } of dataset.channels ?? []) {
    pairs.push([`Channel ${at}`, `${name || "no name"} in ${colour}: ${number(low)} to ${number(high)} (${rule})`]);
  }
  for (const warning of dataset.warnings ?? []) pairs.push(["Warning", warning.message]);
  pairs.push(["Source", sourceLink(dataset.url)]);
  if (dataset.rewritten) {
    const { rule, url, note } = dataset.rewritten;
    pairs.push(["Fetched from", `${url} (${rule})${note ? `. ${note}` : ""}`]);
  }
  if (dataset.created_at) pairs.push(["Submitted", when(dataset.created_at)]);
  pairs.push(["Id", el("code", {}, dataset.dataset_id)]);
  return pairs;
}

/** Return a statement of rights or attribution: its text, with its link if it has one. */
function statement({ text, url }) {
  return url ? el("a", { href: url, rel: "noopener noreferrer" }, text || url) : text;
}

/** Return the addresses to copy, those of the page shown if there are several. */
function addresses(dataset, number) {
  const page = viewUrl(id) + searchOf(number);
  const title = dataset.name.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
  const embed = `<iframe src="${embedUrl(id)}${searchOf(number)}" title="${title}" width="800" height="500" allowfullscreen></iframe>`;
  const fields = [copyField("Link", page), copyField("Embed snippet", embed)];
  if (dataset.tile_urls?.dzi) fields.push(copyField("DZI address", new URL(dataset.tile_urls.dzi, location.href).href));
  fields.push(copyField("curl command", `curl ${statusUrl(id)}`));
  return fields;
}
