// @ts-check
/**
 * A film strip: the kept steps of one frame, laid over its sheet one at a time.
 *
 * Nothing is fetched before a hand or the focus comes near; then the strip's few kilobytes a step are,
 * once, so that scrubbing never waits. The last place of the strip is the picture itself: there the film
 * lies aside, and what develops goes on showing. Kept steps are small pictures, softened as previews are.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./api.js").Kept} Kept
 *
 * @typedef {object} Film
 * @property {() => Promise<readonly Kept[]>} load
 * @property {(delta: number) => Promise<void>} turn  so many kept steps on or back
 * @property {(step: number) => Promise<void>} showStep  the newest kept step up to this one
 * @property {() => Promise<void>} play  from the beginning to the picture; again: stop
 * @property {() => void} leave  back to the picture
 * @property {() => void} grow  there is another step by now: who looks back next is shown it, who does so already stays
 */
import { frameStrip } from "./api.js";
import { isStill, ofLog } from "./pictures.js";
import { sigmaText } from "./words.js";
import { write } from "./write.js";

/** Milliseconds that a playing strip shows each step; slower for who asked for no motion. */
const PACE = 90;
const CALM_PACE = 500;

/**
 * @param {object} on
 * @param {HTMLElement} on.sheet
 * @param {HTMLInputElement} on.range
 * @param {HTMLElement} on.said  tells the step shown
 * @param {number} id  the frame
 * @param {string} epoch
 * @returns {Film}
 */
export function makeFilm({ sheet, range, said }, id, epoch) {
  /** @type {Promise<readonly Kept[]> | null} */
  let loading = null;
  /** @type {readonly Kept[]} */
  let steps = [];
  let wanted = Infinity;
  /** There are more steps than these by now. */
  let stale = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let playing;

  const isAside = () => wanted >= steps.length;

  function load() {
    if (stale && isAside()) loading = null;
    if (loading === null) {
      stale = false;
      loading = fetchSteps(id, epoch).then(take);
    }
    return loading;
  }

  /** @param {readonly Kept[]} found */
  function take(found) {
    if (isAside()) wanted = found.length; // who looks back already stays at that step
    steps = found;
    range.max = String(steps.length);
    range.value = String(wanted);
    range.disabled = steps.length === 0;
    tell();
    return steps;
  }

  function tell() {
    const kept = steps[Number(range.value)];
    const text = kept ? stepLabel(kept) : steps.length ? "the picture" : "no steps were kept";
    range.setAttribute("aria-valuetext", text);
    write(said, kept ? text : steps.length ? "" : text);
  }

  /** @param {number} index  `steps.length` for the picture itself */
  async function show(index) {
    wanted = Math.min(Math.max(index, 0), steps.length);
    range.value = String(wanted);
    tell();
    const mine = wanted;
    const image = mine < steps.length ? await decoded(steps[mine]) : null;
    if (mine === wanted) lay(sheet, image);
  }

  function stop() {
    clearInterval(playing);
    playing = undefined;
  }

  async function play() {
    await load();
    if (playing !== undefined || !steps.length) return stop();
    await show(0);
    playing = setInterval(() => {
      if (wanted >= steps.length) stop();
      else show(wanted + 1);
    }, isStill() ? CALM_PACE : PACE);
  }

  /** @param {number} step */
  async function showStep(step) {
    await load();
    stop();
    const index = steps.findLastIndex((kept) => kept.step <= step);
    await show(index < 0 && steps.length ? 0 : index < 0 ? steps.length : index);
  }

  for (const sign of ["pointerenter", "focus", "pointerdown"]) range.addEventListener(sign, load);
  range.addEventListener("input", () => (stop(), show(Number(range.value))));
  return {
    load,
    play,
    showStep,
    turn: async (delta) => (await load(), stop(), show(wanted + delta)),
    leave: () => (stop(), show(steps.length)),
    grow: () => void (stale = true),
  };
}

/** @param {Kept} kept */
export const stepLabel = ({ step, sigma }) => `step ${step} · σ ${sigmaText(sigma)}`;

/**
 * The kept steps, with addresses that are their own for ever, all on their way to the browser's cache.
 * @param {number} id
 * @param {string} epoch
 */
async function fetchSteps(id, epoch) {
  const strip = await frameStrip(id);
  if ("trouble" in strip) return [];
  const steps = strip.steps.map((kept) => ({ ...kept, url: ofLog(kept.url, epoch) }));
  await Promise.all(steps.map(decoded));
  return steps;
}

/**
 * @param {Kept} kept
 * @returns {Promise<HTMLImageElement | null>} null if it cannot be had
 */
async function decoded(kept) {
  const image = new Image();
  image.className = "film-step";
  image.alt = "";
  image.dataset.step = String(kept.step);
  image.style.setProperty("--across", String(kept.width));
  image.src = kept.url;
  try {
    await image.decode();
  } catch {
    return null;
  }
  return image;
}

/**
 * @param {HTMLElement} sheet
 * @param {HTMLImageElement | null} image  null: the picture itself
 */
function lay(sheet, image) {
  const last = sheet.querySelector(".film-step");
  if (image) sheet.append(image);
  last?.remove();
  sheet.classList.toggle("rewound", image !== null);
}
