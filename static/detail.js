// @ts-check
/**
 * One frame, looked at closely: the picture, its film, all parameters, its own events, and what can be done.
 *
 * It lies over the page as a dialog: Esc or a click beside it closes, and the focus goes back to where it
 * came from. What the daemon tells meanwhile is shown here as on the wall.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./api.js").Detail} Detail
 */
import { frameDetail } from "./api.js";
import { eventRow } from "./eventrow.js";
import { hasEnded } from "./fold.js";
import { makeFilm, stepLabel } from "./film.js";
import { parameters } from "./parameters.js";
import { developOn, finalUrl, newestPicture, ofLog } from "./pictures.js";
import { fileName, paceTexts, stepText } from "./words.js";
import { byId, make, onPress, write } from "./write.js";

/**
 * @param {object} acts
 * @param {(frame: Frame) => Promise<string | null>} acts.stop
 * @param {(prompt: Record<string, any>) => Promise<string | null>} acts.again  answers what went wrong
 * @param {(frame: number) => void} acts.choose
 * @param {() => void} acts.left
 */
export function makeDetail({ stop, again, choose, left }) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("frame"));
  const template = /** @type {HTMLTemplateElement} */ (byId("looked-at"));
  /** @type {ReturnType<typeof lookAt> | null} */
  let shown = null;
  /** @type {State | null} */
  let state = null;
  let id = 0;

  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog || (target instanceof Element && target.closest(".close"))) dialog.close();
  });
  dialog.addEventListener("close", () => {
    shown = null;
    id = 0;
    dialog.replaceChildren();
    left();
  });

  /** @param {number} wanted */
  async function load(wanted) {
    const detail = await frameDetail(wanted);
    if (id !== wanted || !state) return;
    if ("trouble" in detail) {
      dialog.replaceChildren(make("p", { className: "trouble" }, detail.trouble), make("button", { type: "button", className: "close" }, "Close"));
      return;
    }
    shown?.film.leave();
    shown = lookAt(dialog, template, state.epoch, detail, { stop, again, choose });
    shown.show(state.frames.get(wanted) ?? detail.frame, state);
  }

  return {
    /** @param {number | null} frame  null: close */
    look(frame) {
      if (frame === null) return dialog.open && dialog.close();
      if (frame === id) return;
      id = frame;
      if (!dialog.open) dialog.showModal();
      if (state) load(frame);
    },
    /** @param {State} newest */
    follow(newest) {
      const first = state === null;
      const before = id ? state?.frames.get(id) : undefined;
      state = newest;
      const frame = id ? newest.frames.get(id) : undefined;
      if (first && id) load(id);
      else if (frame && before && frame !== before && hasEnded(frame) !== hasEnded(before)) load(id); // its recipe is known now
      else if (frame && shown) shown.show(frame, newest);
    },
    isOpen: () => dialog.open,
    frame: () => id,
    film: () => shown?.film ?? null,
    stop: () => shown?.stop(),
  };
}

/**
 * @param {HTMLDialogElement} dialog
 * @param {HTMLTemplateElement} template
 * @param {string} epoch
 * @param {Detail} detail
 * @param {{ stop: (frame: Frame) => Promise<string | null>, again: (prompt: Record<string, any>) => Promise<string | null>, choose: (frame: number) => void }} acts
 */
function lookAt(dialog, template, epoch, detail, { stop, again, choose }) {
  let { frame } = detail;
  const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
  /**
   * @param {string} selector
   * @returns {any}
   */
  const part = (selector) => content.querySelector(selector);
  const [sheet, step, pace, bar, stopper, download, copy] = [".sheet", ".step", ".pace", "[role=progressbar]", ".stop", ".download", ".copy"].map(part);
  const note = part(".note");
  const film = makeFilm({ sheet, range: part(".film"), said: part(".film-said") }, frame.id, epoch);
  const develop = developOn(sheet);

  write(part(".title"), `Frame ${frame.id}`);
  write(part(".prompt"), frame.prompt);
  write(part(".negative"), frame.negative_prompt ? `without: ${frame.negative_prompt}` : "");
  sheet.style.setProperty("--ratio", `${frame.width} / ${frame.height}`);
  bar.setAttribute("aria-label", `Frame ${frame.id}`);
  part(".parameters").append(...parameters(detail));
  part(".story").append(...detail.events.map(eventRow));
  part(".log-link").href = `#/log?frame=${frame.id}`;
  for (const form of ["webp", "gif"]) part(`.${form}`).href = ofLog(`/api/frames/${frame.id}/animation.${form}`, epoch);
  layStrip(part(".strip"), film);

  async function stopIt() {
    write(stopper, "Stopping…");
    write(note, (await stop(frame)) ?? "");
  }
  onPress(stopper, stopIt);
  onPress(part(".again"), async () => write(note, (await again(detail.again)) ?? ""));
  onPress(copy, async () => {
    await navigator.clipboard.writeText(`${JSON.stringify(detail.again, null, 2)}\n`);
    write(copy, "Copied");
  });
  part(".choose").addEventListener("click", () => choose(frame.id));
  part(".play").addEventListener("click", film.play);
  const buttons = { webp: part(".webp"), gif: part(".gif"), play: part(".play") };
  film.load().then((steps) => Object.values(buttons).forEach((one) => one.toggleAttribute("hidden", steps.length < 2)));

  /**
   * @param {Frame} newer
   * @param {State} state
   */
  function show(newer, state) {
    frame = newer;
    write(step, stepText(frame));
    write(pace, hasEnded(frame) ? "" : paceTexts(frame, state.makings.get(frame.id)).join(" · "));
    bar.setAttribute("aria-valuemax", String(frame.steps));
    bar.setAttribute("aria-valuenow", String(frame.step));
    bar.style.setProperty("--done", String(frame.step / frame.steps));
    bar.hidden = stopper.hidden = hasEnded(frame);
    write(stopper, frame.status === "stopping" ? "Stopping…" : "Stop");
    download.hidden = frame.path === null;
    download.href = finalUrl(frame, epoch);
    download.download = fileName(frame);
    develop(newestPicture(frame, epoch));
  }

  dialog.replaceChildren(content);
  return { show, film, stop: () => hasEnded(frame) || stopIt() };
}

/**
 * The kept steps side by side, each a way to itself.
 * @param {HTMLElement} list
 * @param {import("./film.js").Film} film
 */
async function layStrip(list, film) {
  for (const kept of await film.load()) {
    const image = make("img", { src: kept.url, alt: "", loading: "lazy", width: kept.width, height: kept.height });
    list.append(make("li", {}, make("button", { type: "button", title: stepLabel(kept), "aria-label": `Show ${stepLabel(kept)}`, onclick: () => film.showStep(kept.step) }, image)));
  }
}
