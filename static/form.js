// @ts-check
/**
 * The form that sends a prompt. It checks nothing: the daemon's faults are shown beside the field they
 * name, in its words, so that a prompt is judged by one rule wherever it comes from.
 *
 * @typedef {import("./api.js").Fault} Fault
 */
import { sendPrompt } from "./api.js";
import { offerChoices } from "./offer.js";

/** Fields whose text is a number in the prompt; text that is none is sent as it is, and refused with a reason. */
const NUMBERS = new Set(["width", "height", "steps", "cfg_scale", "seed", "count", "priority"]);

/**
 * @param {HTMLFormElement} form
 * @param {(accepted: import("./api.js").Accepted) => void} sent
 */
export function runForm(form, sent) {
  const text = /** @type {HTMLTextAreaElement} */ (form.elements.namedItem("prompt"));
  const button = /** @type {HTMLButtonElement} */ (form.querySelector("[type=submit]"));
  const said = /** @type {HTMLElement} */ (form.querySelector("output"));

  async function send() {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    const sentWords = text.value;
    const answer = await sendPrompt(promptOf(new FormData(form)));
    button.removeAttribute("aria-disabled");
    clearFaults(form);
    if ("faults" in answer) showFaults(form, answer.faults);
    form.classList.toggle("refused", !("accepted" in answer));
    said.textContent = "accepted" in answer ? queuedText(answer.accepted) : "trouble" in answer ? answer.trouble : "";
    if (!("accepted" in answer)) return;
    // Who types on meanwhile has begun the next one.
    text.value = text.value.startsWith(sentWords) ? text.value.slice(sentWords.length) : text.value;
    sent(answer.accepted);
  }

  offerChoices(form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

/**
 * What was filled in; what was left empty is the daemon's to choose.
 * @param {FormData} filled
 * @returns {Record<string, unknown>}
 */
function promptOf(filled) {
  /** @type {Record<string, unknown>} */
  const prompt = {};
  for (const [name, value] of filled) {
    const written = String(value).trim();
    if (written || name === "prompt") prompt[name] = NUMBERS.has(name) ? numberOf(written) : written;
  }
  return prompt;
}

/** @param {string} written */
function numberOf(written) {
  const number = Number(written);
  return Number.isFinite(number) ? number : written;
}

/** @param {import("./api.js").Accepted} accepted */
export function queuedText({ job, frames }) {
  return `Job ${job} is queued: ${frames.length === 1 ? "frame" : "frames"} ${frames.join(", ")}.`;
}

/** @param {HTMLFormElement} form */
function clearFaults(form) {
  for (const fault of form.querySelectorAll(".fault")) fault.remove();
  for (const field of form.querySelectorAll("[aria-invalid]")) {
    field.removeAttribute("aria-invalid");
    field.removeAttribute("aria-describedby");
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {Fault[]} faults
 */
function showFaults(form, faults) {
  const fields = faults.map((fault, index) => showFault(form, fault, `fault-${index}`));
  const first = fields.find((field) => field !== null);
  if (!first) return;
  first.closest("details")?.setAttribute("open", "");
  first.focus();
}

/**
 * A fault at `$.steps` stands under the field `steps`; one that names no field stands under the form.
 * @param {HTMLFormElement} form
 * @param {Fault} fault
 * @param {string} id
 * @returns {HTMLElement | null} the field
 */
function showFault(form, { path, message, suggestion }, id) {
  const line = document.createElement("p");
  const named = form.elements.namedItem(path.replace(/^\$\.?/, ""));
  const field = named instanceof HTMLElement ? named : null;
  line.className = "fault";
  line.id = id;
  line.textContent = `${field ? "" : `${path}: `}${message}.${suggestion ? ` ${suggestion}` : ""}`;
  field?.setAttribute("aria-invalid", "true");
  field?.setAttribute("aria-describedby", id);
  (field?.closest("label") ?? form).append(line);
  return field;
}
