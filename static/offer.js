// @ts-check
/**
 * What the form offers to choose from: checkpoints, samplers and schedulers as lists, LoRAs and embeddings
 * to be put into the words. It is asked for whenever the options are opened, since files come and go.
 *
 * @typedef {import("./api.js").Stock} Stock
 */
import { stock } from "./api.js";

/** @param {HTMLFormElement} form */
export function offerChoices(form) {
  const [model, sampler, scheduler] = ["model", "sampler", "scheduler"].map(
    (name) => /** @type {HTMLSelectElement} */ (form.elements.namedItem(name)),
  );
  const adding = /** @type {NodeListOf<HTMLSelectElement>} */ (form.querySelectorAll("[data-adds]"));
  const details = /** @type {HTMLDetailsElement} */ (form.querySelector("details"));
  let field = written(form, "prompt");
  /** @type {Stock | null} */
  let there = null;

  function offerSchedulers() {
    if (!there) return;
    const chosen = there.samplers.find(({ name }) => name === sampler.value);
    fill(scheduler, "default", chosen ? chosen.schedulers : there.schedulers);
  }

  details.addEventListener("toggle", async () => {
    if (!details.open) return;
    const answer = await stock();
    if ("trouble" in answer) return; // the lists stay as they are, and what is wrong is said by the banner
    there = answer;
    fill(model, `default: ${there.model}`, there.checkpoints);
    fill(sampler, "default", there.samplers.map(({ name }) => name), there.samplers.map(({ label }) => label));
    offerSchedulers();
    for (const select of adding) {
      const names = select.dataset.adds === "lora" ? there.loras : there.embeddings;
      fill(select, select.options[0].text, names);
      /** @type {HTMLElement} */ (select.closest("label")).hidden = names.length === 0;
    }
  });
  sampler.addEventListener("change", offerSchedulers);
  for (const name of ["prompt", "negative_prompt"]) {
    written(form, name).addEventListener("focus", () => (field = written(form, name)));
  }
  for (const select of adding) {
    select.addEventListener("change", () => {
      const lora = select.dataset.adds === "lora";
      const into = lora ? written(form, "prompt") : field; // a LoRA changes the model, whichever words it stands in
      into.value = `${into.value.trimEnd()} ${lora ? `<lora:${select.value}:1>` : `embedding:${select.value}`}`.trimStart();
      select.value = "";
      into.focus();
    });
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 */
const written = (form, name) => /** @type {HTMLInputElement | HTMLTextAreaElement} */ (form.elements.namedItem(name));

/**
 * Offer these, and keep what was chosen if it is still among them.
 * @param {HTMLSelectElement} select
 * @param {string} none
 * @param {string[]} names
 * @param {string[]} labels
 */
function fill(select, none, names, labels = names) {
  const chosen = select.value;
  select.replaceChildren(new Option(none, ""), ...names.map((name, index) => new Option(labels[index], name)));
  select.value = names.includes(chosen) ? chosen : "";
}
