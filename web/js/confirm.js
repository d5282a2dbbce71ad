/** Ask for confirmation before something is deleted. */

import { el } from "./dom.js";

/** Show a modal question. Resolves to whether the person agreed; Escape means no. */
export function confirmed({ title, text, agree }) {
  return new Promise((resolve) => {
    const dialog = el(
      "dialog",
      { "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text", onclose: () => settle() },
      el(
        "form",
        { method: "dialog" },
        el("h2", { id: "confirm-title" }, title),
        el("p", { id: "confirm-text" }, text),
        el(
          "div",
          { class: "buttons" },
          el("button", { value: "no", autofocus: true }, "Keep"),
          el("button", { value: "yes", class: "danger" }, agree),
        ),
      ),
    );
    const settle = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
