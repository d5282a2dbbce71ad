/** A dataset's progress while it is worked on, its reason when it failed, and the buttons that go with either. */

import { cancelDataset, retryDataset } from "./api.js";
import { announce, el } from "./dom.js";
import { details, percent, phase, waiting } from "./format.js";
import { DatasetFailed, waitUntilReady } from "./wait.js";

const ANNOUNCED_STEP = 25; // percent; a screen reader hears each phase and these steps, not every change.

export class LiveStatus {
  #id;
  #name;
  #handlers;
  #following = null;
  #announced = "";
  #refocus = false; // a pressed button is disabled, which drops its focus

  /**
   * name: the dataset's name, for labels. onStatus hears every status, onReady the ready one, onGone when the dataset
   * was deleted meanwhile. readOnly: without buttons.
   */
  constructor(id, name, { onStatus = () => {}, onReady = () => {}, onGone = () => {}, readOnly = false } = {}) {
    this.#id = id;
    this.#name = name;
    this.#handlers = { onStatus, onReady, onGone };
    this.words = el("span", { class: "live-phase" });
    this.percent = el("span", { class: "live-percent" });
    this.bar = el("progress", { max: 100, "aria-label": `Progress of ${name}` });
    this.details = el("p", { class: "live-details" });
    this.cancel = el("button", { type: "button", class: "small", "aria-label": `Cancel ${name}`, onclick: () => this.#cancel() }, "Cancel");
    this.reason = el("p", { class: "live-reason" });
    this.retry = el("button", { type: "button", class: "small", "aria-label": `Retry ${name}`, onclick: () => this.#retry() }, "Retry");
    this.trouble = el("p", { class: "live-trouble", hidden: true });
    this.working = el(
      "div",
      { class: "live-working", hidden: true },
      el("p", { class: "live-line" }, this.words, this.percent),
      this.bar,
      el("div", { class: "live-line" }, this.details, readOnly ? null : this.cancel),
    );
    this.failed = el("div", { class: "live-failed", hidden: true }, this.reason, readOnly ? null : this.retry);
    this.element = el("div", { class: "live" }, this.working, this.failed, this.trouble);
  }

  /** Follow the dataset to its end. Does nothing while it is followed already. */
  async follow() {
    if (this.#following) return;
    const following = (this.#following = new AbortController());
    try {
      const ready = await waitUntilReady(this.#id, {
        onStatus: (status) => this.show(status),
        onTrouble: (error) => this.#showTrouble(`${error.message} Trying again…`),
        signal: following.signal,
      });
      announce(`${this.#name} is ready.`);
      this.#handlers.onReady(ready);
    } catch (error) {
      if (following.signal.aborted) return;
      if (error instanceof DatasetFailed) announce(`${this.#name}: ${error.message}`);
      else if (error.status === 404) this.#handlers.onGone();
      else this.#showTrouble(error.message);
    } finally {
      if (this.#following === following) this.#following = null;
    }
  }

  stop() {
    this.#following?.abort();
    this.#following = null;
  }

  /** Show one status of the contract (a dataset of the catalogue will do). */
  show(status) {
    const failed = status.status === "failed";
    const focused = this.#focused || (this.#refocus && document.activeElement === document.body);
    this.#refocus = false;
    this.#showTrouble("");
    this.working.hidden = failed || status.status === "ready";
    this.failed.hidden = !failed;
    if (failed) this.#showFailure(status.error ?? {});
    else if (status.status !== "ready") this.#showProgress(status);
    if (focused) (failed ? this.retry : this.cancel).focus();
    this.#handlers.onStatus(status);
  }

  get #focused() {
    return this.element.contains(document.activeElement);
  }

  #showProgress(status) {
    const words = phase(status);
    this.words.textContent = words;
    if (status.percent == null || (status.stage_percent == null && !waiting(status))) {
      this.bar.removeAttribute("value");
      this.percent.textContent = "";
    } else {
      this.bar.value = status.percent;
      this.percent.textContent = status.percent > 0 ? percent(status.percent) : "";
    }
    this.details.textContent = details(status);
    this.cancel.disabled = false;
    const step = Math.floor((status.percent ?? 0) / ANNOUNCED_STEP) * ANNOUNCED_STEP;
    const said = step > 0 ? `${this.#name}: ${words} ${step}%` : `${this.#name}: ${words}`;
    if (this.#following && said !== this.#announced) announce(said);
    this.#announced = said;
  }

  #showFailure({ code, message }) {
    this.failed.classList.toggle("cancelled", code === "cancelled");
    this.reason.textContent = message || "It failed for a reason that was not given.";
    this.retry.disabled = false;
  }

  #showTrouble(text) {
    this.trouble.textContent = text;
    this.trouble.hidden = !text;
  }

  #cancel() {
    return this.#ask(cancelDataset, this.cancel);
  }

  #retry() {
    return this.#ask(retryDataset, this.retry);
  }

  /** Ask for a move and look at once at what came of it; a refusal (409) is answered by the status itself. */
  async #ask(move, button) {
    this.stop(); // What an older answer still says is no longer what was asked for.
    this.#refocus = this.#focused;
    button.disabled = true;
    try {
      await move(this.#id);
    } catch (error) {
      if (error.status === 404) return this.#handlers.onGone();
      if (error.status !== 409) {
        button.disabled = false;
        if (this.#refocus) button.focus();
        this.#showTrouble(error.message);
        if (button === this.retry) return;
      }
    }
    await this.follow();
  }
}
