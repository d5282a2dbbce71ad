/** The latest submission: its id, its progress, and finally the image in the viewer. */

import { getDataset, viewUrl } from "./api.js";
import { el } from "./dom.js";
import { LiveStatus } from "./live.js";
import { openViewer } from "./viewer.js";

export class Submission {
  #live = null;
  #viewer = null;

  constructor(section) {
    this.section = section;
  }

  /** Show a new dataset instead of the previous one; the catalogue shows both. */
  show({ dataset_id: id }, name) {
    this.#live?.stop();
    this.#viewer?.destroy();
    this.#viewer = null;
    const live = (this.#live = new LiveStatus(id, name, {
      onReady: () => this.#open(id, name),
      onGone: () => this.hide(),
    }));
    this.stage = el("div", { class: "stage", hidden: true });
    this.section.replaceChildren(
      el(
        "header",
        { class: "submission-head" },
        el("h2", { id: "submission-title", tabindex: -1 }, name),
        el("code", {}, id),
        el("a", { href: viewUrl(id) }, "Open its page"),
      ),
      live.element,
      this.stage,
    );
    this.section.hidden = false;
    // On a phone the form fills the screen, so scroll to the submission.
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.section.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
    live.show({ status: "queued", progress: "queued", state: "QUEUED", percent: 0 });
    live.follow();
  }

  hide() {
    this.#live?.stop();
    this.#viewer?.destroy();
    this.section.hidden = true;
  }

  async #open(id, name) {
    const stage = this.stage;
    const dataset = await getDataset(id);
    if (stage !== this.stage) return;
    stage.hidden = false;
    this.#viewer = await openViewer(stage, dataset);
  }
}
