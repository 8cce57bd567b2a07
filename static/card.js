// @ts-check
/**
 * One frame's card: made once, then brought up to date in place, so that focus and pictures stay.
 *
 * Prompt text is data: it goes in as text, never as HTML. The only state of a card's own is a request
 * that is on its way; everything else it shows is the frame.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {ReturnType<typeof makeCard>} Card
 *
 * @typedef {object} Surroundings  what a card tells of more than its frame
 * @property {import("./pace.js").Making | undefined} making
 * @property {string} loading  what keeps devices from sampling, while this one waits for that
 * @property {number | undefined} wait  seconds until it begins, if that is known
 * @property {number | null} sooner  the priority that moves its job past the one ahead
 * @property {number | null} later
 * @property {number} siblings  frames of its job that have not ended, itself included
 * @property {boolean} past  whether this is how it was once: nothing can then be asked of it
 * @property {boolean} chosen  for the comparison
 *
 * @typedef {object} Acts  each asks for something and answers what went wrong
 * @property {(frame: Frame) => Promise<string | null>} stop
 * @property {(frame: Frame) => Promise<string | null>} stopJob
 * @property {(frame: Frame, priority: number) => Promise<string | null>} prioritise
 * @property {(frame: Frame) => Promise<string | null>} again
 * @property {(frame: Frame) => void} choose  for the comparison, or no more
 */
import { hasEnded } from "./fold.js";
import { makeFilm } from "./film.js";
import { developOn, finalUrl, newestPicture } from "./pictures.js";
import { facts, fileName, paceTexts, stepText, waitText } from "./words.js";
import { onPress, write, writeItems } from "./write.js";

/**
 * @param {Frame} first
 * @param {{ template: HTMLTemplateElement, epoch: string, acts: Acts }} makers
 */
export function makeCard(first, { template, epoch, acts }) {
  const element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  const parts = partsOf(element);
  const develop = developOn(parts.sheet);
  const film = makeFilm({ sheet: parts.sheet, range: parts.film, said: parts.filmStep }, first.id, epoch);
  let frame = first;
  /** @type {Surroundings} */
  let around = { making: undefined, loading: "", wait: undefined, sooner: null, later: null, siblings: 1, past: false, chosen: false };
  let asked = false;
  let complaint = "";

  /**
   * @param {Frame} newer
   * @param {Surroundings} surroundings
   */
  function show(newer, surroundings) {
    if (newer.status !== frame.status && (hasEnded(newer) || newer.status === "stopping")) asked = false;
    const backwards = surroundings.past || around.past;
    if (newer.step !== frame.step || newer.status !== frame.status) film.grow();
    [frame, around] = [newer, surroundings];
    paint(element, parts, frame, around);
    paintActs(element, parts, frame, around, asked || frame.status === "stopping");
    if (frame.path !== null) offer(parts, frame, finalUrl(frame, epoch));
    write(parts.note, complaint);
    develop(newestPicture(frame, epoch), backwards);
  }

  /** @param {() => Promise<string | null>} request */
  async function ask(request) {
    complaint = "";
    complaint = (await request()) ?? "";
    show(frame, around);
  }

  async function stop() {
    if (asked || around.past || hasEnded(frame) || frame.status === "stopping") return;
    asked = true;
    show(frame, around);
    await ask(() => acts.stop(frame));
    if (complaint) asked = false;
    show(frame, around);
  }

  introduce(element, parts, frame);
  parts.stop.addEventListener("click", stop);
  onPress(parts.stopJob, () => ask(() => acts.stopJob(frame)));
  onPress(parts.again, () => ask(() => acts.again(frame)));
  onPress(parts.sooner, () => ask(async () => around.sooner === null ? null : acts.prioritise(frame, around.sooner)));
  onPress(parts.later, () => ask(async () => around.later === null ? null : acts.prioritise(frame, around.later)));
  return {
    element, show, stop, film,
    choose: () => acts.choose(frame),
    /** Fetch the newest picture at once: until the next painting is half a display frame, on the average. */
    hurry: (/** @type {Frame} */ newer) => around.past || develop(newestPicture(newer, epoch)),
    /** Ask again for a picture that could not be had. */
    refetch: () => develop(newestPicture(frame, epoch), around.past),
  };
}

/** @typedef {ReturnType<typeof partsOf>} Parts */

/** @param {HTMLElement} element */
function partsOf(element) {
  /**
   * @param {string} selector
   * @returns {any}
   */
  const part = (selector) => element.querySelector(selector);
  return {
    /** @type {HTMLElement} */ sheet: part(".sheet"),
    /** @type {HTMLAnchorElement} */ open: part(".open"),
    /** @type {HTMLInputElement} */ film: part(".film"),
    /** @type {HTMLElement} */ filmStep: part(".film-said"),
    /** @type {HTMLElement} */ prompt: part(".prompt"),
    /** @type {HTMLElement} */ facts: part(".facts"),
    /** @type {HTMLElement} */ bar: part("[role=progressbar]"),
    /** @type {HTMLElement} */ step: part(".step"),
    /** @type {HTMLElement} */ pace: part(".pace"),
    /** @type {HTMLElement} */ error: part(".error"),
    /** @type {HTMLElement} */ note: part(".note"),
    /** @type {HTMLElement} */ stop: part(".stop"),
    /** @type {HTMLElement} */ stopJob: part(".stop-job"),
    /** @type {HTMLElement} */ sooner: part(".sooner"),
    /** @type {HTMLElement} */ later: part(".later"),
    /** @type {HTMLElement} */ again: part(".again"),
    /** @type {HTMLAnchorElement} */ download: part(".download"),
  };
}

/**
 * What never changes in a frame.
 * @param {HTMLElement} element
 * @param {Parts} parts
 * @param {Frame} frame
 */
function introduce(element, parts, frame) {
  element.dataset.frame = String(frame.id);
  element.setAttribute("aria-label", `Frame ${frame.id}: ${frame.prompt}`);
  element.style.setProperty("--ratio", `${frame.width} / ${frame.height}`);
  parts.prompt.textContent = frame.prompt;
  parts.prompt.title = frame.negative_prompt ? `${frame.prompt}\n\nwithout: ${frame.negative_prompt}` : frame.prompt;
  parts.bar.setAttribute("aria-label", `Frame ${frame.id}: ${frame.prompt}`);
  parts.film.setAttribute("aria-label", `Development of frame ${frame.id}`);
  parts.open.href = `#/frame/${frame.id}`;
  parts.open.setAttribute("aria-label", `Look closer at frame ${frame.id}: ${frame.prompt}`);
}

/**
 * What changes, each time written whole.
 * @param {HTMLElement} element
 * @param {Parts} parts
 * @param {Frame} frame
 * @param {Surroundings} around
 */
function paint(element, parts, frame, { making, loading, wait, chosen }) {
  element.dataset.status = frame.status;
  element.dataset.step = String(frame.step);
  element.classList.toggle("chosen", chosen);
  writeItems(parts.facts, facts(frame));
  write(parts.step, stepText(frame));
  writeItems(parts.pace, hasEnded(frame) ? [] : frame.status === "queued" ? [waitText(wait)].filter(Boolean) : paceTexts(frame, making, loading));
  write(parts.error, frame.error ?? "");
  parts.bar.setAttribute("aria-valuemax", String(frame.steps));
  parts.bar.setAttribute("aria-valuenow", String(frame.step));
  parts.bar.setAttribute("aria-valuetext", stepText(frame));
  parts.bar.style.setProperty("--done", String(frame.steps ? frame.step / frame.steps : 0));
}

/**
 * While it stops, the button keeps its place and the focus; when it goes, the focus goes to the card.
 * @param {HTMLElement} element
 * @param {Parts} parts
 * @param {Frame} frame
 * @param {Surroundings} around
 * @param {boolean} stopping
 */
function paintActs(element, parts, frame, { past, sooner, later, siblings }, stopping) {
  const ended = hasEnded(frame);
  write(parts.stop, stopping ? "Stopping…" : "Stop");
  parts.stop.setAttribute("aria-label", `${parts.stop.textContent} frame ${frame.id}: ${frame.prompt}`);
  parts.stop.setAttribute("aria-disabled", String(stopping));
  write(parts.stopJob, `Stop job (${siblings})`);
  const focused = document.activeElement;
  parts.stop.hidden = ended || past;
  parts.stopJob.hidden = ended || past || siblings < 2;
  parts.sooner.hidden = past || frame.status !== "queued" || sooner === null;
  parts.later.hidden = past || frame.status !== "queued" || later === null;
  parts.again.hidden = !ended || past;
  parts.download.hidden = frame.path === null;
  if (focused instanceof HTMLElement && focused.hidden && element.contains(focused)) element.focus({ preventScroll: true });
}

/**
 * @param {Parts} parts
 * @param {Frame} frame
 * @param {string} url
 */
function offer({ download }, frame, url) {
  download.href = url;
  download.setAttribute("aria-label", `Download frame ${frame.id}: ${frame.prompt}`);
  download.download = fileName(frame);
}
