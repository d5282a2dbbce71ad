/** Text fields with a button that copies the text. */

import { announce, el, icon } from "./dom.js";

const THANKS = 2000; // ms for which the check mark stays

/** Return a labelled, selectable text with a copy button. */
export function copyField(label, text) {
  const button = el("button", { type: "button", class: "icon-button", "aria-label": `Copy ${label}`, title: `Copy ${label}` }, icon("copy"));
  button.addEventListener("click", async () => {
    await writeClipboard(text, field);
    button.replaceChildren(icon("check"));
    announce(`${label} copied.`);
    setTimeout(() => button.replaceChildren(icon("copy")), THANKS);
  });
  const field = el("input", { type: "text", readonly: true, value: text, "aria-label": label, onfocus: () => field.select() });
  return el("div", { class: "copy" }, el("span", { class: "copy-label" }, label), el("div", { class: "copy-row" }, field, button));
}

/** The clipboard API exists only on https and localhost. Elsewhere execCommand copies the selected field. */
async function writeClipboard(text, field) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  field.select();
  document.execCommand("copy");
}
