/** A dataset's progress with a cancel button, or the reason why it failed with a retry button. */

import { cancelDataset, retryDataset } from "./api.js";
import { announce, el } from "./dom.js";
import { details, percent, phase, waiting } from "./format.js";
import { DatasetFailed, waitUntilReady } from "./wait.js";

const ANNOUNCED_STEP = 25; // percent; screen readers announce each phase and these steps, not every change.

export class LiveStatus {
  #id;
  #name;
  #handlers;
  #following = null;
  #announced = "";
  #refocus = false; // A pressed button is disabled and so loses the focus.

  /**
   * name: the dataset's name, for labels. onStatus: called with every status. onReady: called with the ready status.
   * onGone: called when the dataset was deleted in the meantime. readOnly: no buttons.
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
    this.url = el("input", { type: "text", inputmode: "url", autocomplete: "off", spellcheck: "false", "aria-label": `New URL of ${name}`, onkeydown: (event) => event.key === "Enter" && this.#retry() });
    this.link = el("label", { class: "live-link", hidden: true }, "New URL of the same file, if the old one has expired", this.url);
    this.trouble = el("p", { class: "live-trouble", hidden: true });
    this.working = el(
      "div",
      { class: "live-working", hidden: true },
      el("p", { class: "live-line" }, this.words, this.percent),
      this.bar,
      el("div", { class: "live-line" }, this.details, readOnly ? null : this.cancel),
    );
    this.failed = el("div", { class: "live-failed", hidden: true }, this.reason, readOnly ? null : this.link, readOnly ? null : this.retry);
    this.element = el("div", { class: "live" }, this.working, this.failed, this.trouble);
  }

  /** Poll the dataset until it is ready or failed. Does nothing if it is already being followed. */
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

  /** Show a status from the API; a dataset from the catalogue works too. */
  show(status) {
    const failed = status.status === "failed";
    const focused = this.#focused || (this.#refocus && document.activeElement === document.body);
    this.#refocus = false;
    this.#showTrouble("");
    this.working.hidden = failed || status.status === "ready";
    this.failed.hidden = !failed;
    if (failed) this.#showFailure(status.error ?? {});
    else if (status.status !== "ready") this.#showProgress(status);
    if (focused && document.activeElement !== this.url) (failed ? this.retry : this.cancel).focus();
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
    this.reason.textContent = message || "It failed, and no reason was given.";
    this.link.hidden = !code?.startsWith("source_");
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
    const url = this.link.hidden ? "" : this.url.value.trim();
    return this.#ask((id) => retryDataset(id, url), this.retry);
  }

  /** Send a cancel or retry, then follow the status. After a 409 the status shows why it was refused. */
  async #ask(move, button) {
    this.stop(); // An older answer must not be shown any more.
    this.#refocus = this.#focused;
    button.disabled = true;
    try {
      await move(this.#id);
    } catch (error) {
      if (error.status === 404) return this.#handlers.onGone();
      if (error.status !== 409) {
        button.disabled = false;
        if (this.#refocus) button.focus();
        this.#showTrouble(error.fields?.get("url") ?? error.message);
        if (button === this.retry) return;
      }
    }
    if (button === this.retry) this.url.value = "";
    await this.follow();
  }
}
