// @ts-check
/**
 * One frame's card: made once, then brought up to date in place, so that focus and pictures stay.
 *
 * Prompt text is data: it goes in as text, never as HTML. The only state of a card's own is a Stop that
 * is on its way; everything else it shows is the frame.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {{ element: HTMLElement, show: (frame: Frame) => void, refetch: () => void }} Card
 *
 * @typedef {object} Makers
 * @property {HTMLTemplateElement} template
 * @property {string} epoch
 * @property {(frame: Frame) => Promise<string | null>} stop  asks for the stop; answers what went wrong
 * @property {(frame: Frame) => void} open  shows the finished picture at full size
 */
import { hasEnded } from "./fold.js";
import { developOn, finalUrl, newestPicture } from "./pictures.js";
import { facts, fileName, stepText } from "./words.js";
import { write, writeItems } from "./write.js";

/**
 * @param {Frame} first
 * @param {Makers} makers
 * @returns {Card}
 */
export function makeCard(first, { template, epoch, stop, open }) {
  const element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  const parts = partsOf(element);
  const develop = developOn(parts.sheet);
  let frame = first;
  let asked = false;
  let complaint = "";

  /** @param {Frame} newer */
  function show(newer) {
    if (newer.status !== frame.status && (hasEnded(newer) || newer.status === "stopping")) asked = false;
    frame = newer;
    paint(element, parts, frame);
    paintStop(element, parts.stop, frame, asked || frame.status === "stopping");
    if (frame.path !== null) offer(parts, frame, finalUrl(frame, epoch));
    parts.download.hidden = frame.path === null;
    write(parts.note, complaint);
    develop(newestPicture(frame, epoch));
  }

  async function ask() {
    if (asked || frame.status === "stopping") return;
    asked = true;
    complaint = "";
    show(frame);
    complaint = (await stop(frame)) ?? "";
    if (complaint) asked = false;
    show(frame);
  }

  introduce(element, parts, frame);
  parts.stop.addEventListener("click", ask);
  parts.open.addEventListener("click", (click) => {
    if (click.ctrlKey || click.metaKey || click.shiftKey) return; // a tab or window of its own
    click.preventDefault();
    open(frame);
  });
  return { element, show, refetch: () => develop(newestPicture(frame, epoch)) };
}

/** @typedef {ReturnType<typeof partsOf>} Parts */

/** @param {HTMLElement} element */
function partsOf(element) {
  /** @param {string} selector */
  const part = (selector) => /** @type {HTMLElement} */ (element.querySelector(selector));
  return {
    sheet: part(".sheet"),
    open: /** @type {HTMLAnchorElement} */ (part(".open")),
    download: /** @type {HTMLAnchorElement} */ (part(".download")),
    stop: part(".stop"),
    prompt: part(".prompt"),
    facts: part(".facts"),
    bar: part("[role=progressbar]"),
    step: part(".step"),
    error: part(".error"),
    note: part(".note"),
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
  parts.bar.setAttribute("aria-label", frame.prompt);
}

/**
 * What changes, each time written whole.
 * @param {HTMLElement} element
 * @param {Parts} parts
 * @param {Frame} frame
 */
function paint(element, parts, frame) {
  element.dataset.status = frame.status;
  element.dataset.step = String(frame.step);
  writeItems(parts.facts, facts(frame));
  write(parts.step, stepText(frame));
  write(parts.error, frame.error ?? "");
  parts.bar.setAttribute("aria-valuemax", String(frame.steps));
  parts.bar.setAttribute("aria-valuenow", String(frame.step));
  parts.bar.setAttribute("aria-valuetext", stepText(frame));
  parts.bar.style.setProperty("--done", String(frame.steps ? frame.step / frame.steps : 0));
}

/**
 * While it stops, the button keeps its place and the focus; when it goes, the focus goes to the card.
 * @param {HTMLElement} element
 * @param {HTMLElement} button
 * @param {Frame} frame
 * @param {boolean} stopping
 */
function paintStop(element, button, frame, stopping) {
  write(button, stopping ? "Stopping…" : "Stop");
  button.setAttribute("aria-label", `${button.textContent} ${frame.prompt}`);
  button.setAttribute("aria-disabled", String(stopping));
  if (hasEnded(frame) && document.activeElement === button) element.focus({ preventScroll: true });
  button.hidden = hasEnded(frame);
}

/**
 * @param {Parts} parts
 * @param {Frame} frame
 * @param {string} url
 */
function offer({ open, download }, frame, url) {
  open.href = url;
  open.setAttribute("aria-label", `Open at full size: ${frame.prompt}`);
  download.href = url;
  download.setAttribute("aria-label", `Download: ${frame.prompt}`);
  download.download = fileName(frame);
}
