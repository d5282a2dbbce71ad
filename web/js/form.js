/** The form that submits a new image. */

import { createDataset } from "./api.js";
import { nameFromUrl } from "./format.js";

/**
 * Wire up the form. onCreated: called with the API's answer and the entered name.
 *
 * The browser checks the fields before anything is sent. Errors from the server are shown next to their fields.
 */
export function wireForm(form, { onCreated }) {
  const { url, name } = form.elements;
  const button = form.querySelector("[type=submit]");
  const problem = form.querySelector(".form-problem");
  let suggested = "";
  let key = newKey();

  // On each input, not when the field loses focus: by then the person may already be typing the name.
  url.addEventListener("input", () => {
    if (name.value && name.value !== suggested) return;
    suggested = nameFromUrl(url.value);
    name.value = suggested;
    if (suggested) showFieldError(name, "");
  });

  name.addEventListener("focus", () => name.value === suggested && name.select());

  form.addEventListener("input", ({ target }) => {
    key = newKey(); // A changed body is a new request.
    if (target.getAttribute("aria-invalid") === "true" && target.validity.valid) showFieldError(target, "");
  });

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    if (!checkFields(form)) return;
    button.disabled = true;
    try {
      const created = await createDataset(fieldsOf(form), key);
      onCreated(created, name.value.trim());
      form.reset();
      suggested = "";
      key = newKey();
    } catch (error) {
      showProblem(form, problem, error);
    } finally {
      button.disabled = false;
    }
  });
}

const NUMBERS = new Set(["tile_size", "quality", "page"]);

function fieldsOf(form) {
  const fields = {};
  for (const [field, value] of new FormData(form)) {
    const text = value.trim();
    if (text) fields[field] = NUMBERS.has(field) ? Number(text) : text;
  }
  return fields;
}

function checkFields(form) {
  const fields = [...form.elements].filter((field) => field.name);
  for (const field of fields) showFieldError(field, field.validity.valid ? "" : field.validationMessage);
  const wrong = fields.find((field) => !field.validity.valid);
  wrong?.focus();
  return !wrong;
}

function showProblem(form, problem, error) {
  const beside = [];
  for (const [field, text] of error.fields ?? []) {
    const input = form.elements.namedItem(field);
    if (!input) continue;
    showFieldError(input, text);
    beside.push(input);
  }
  for (const input of beside) input.closest("details")?.setAttribute("open", "");
  if (beside.length) return beside[0].focus();
  problem.textContent = error.message;
  problem.hidden = false;
}

function showFieldError(field, text) {
  const place = document.getElementById(`${field.id}-error`);
  if (!place) return;
  place.textContent = text;
  place.hidden = !text;
  field.setAttribute("aria-invalid", String(Boolean(text)));
}

/** Return a new Idempotency-Key. Not `crypto.randomUUID`, which exists only on https and localhost. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
