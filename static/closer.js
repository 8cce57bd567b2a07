// @ts-check
/**
 * What is seen of one frame looked at closely, made from the template `looked-at`.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./api.js").Detail} Detail
 *
 * @typedef {object} Acts  each asks for something; the first two answer what went wrong
 * @property {(frame: Frame) => Promise<string | null>} stop
 * @property {(prompt: Record<string, any>) => Promise<string | null>} again
 * @property {(frame: number) => void} choose
 */
import { eventRow } from "./eventrow.js";
import { makeFilm, stepLabel } from "./film.js";
import { hasEnded } from "./fold.js";
import { parameters } from "./parameters.js";
import { developOn, finalUrl, newestPicture, ofLog } from "./pictures.js";
import { fileName, paceTexts, stepText } from "./words.js";
import { make, onPress, write } from "./write.js";

/** @typedef {(selector: string) => any} Part */

/**
 * @param {HTMLTemplateElement} template
 * @param {string} epoch
 * @param {Detail} detail
 * @param {Acts} acts
 */
export function lookAt(template, epoch, detail, acts) {
  let { frame } = detail;
  const content = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
  /** @type {Part} */
  const part = (selector) => content.querySelector(selector);
  const film = makeFilm({ sheet: part(".sheet"), range: part(".film"), said: part(".film-said") }, frame.id, epoch);
  const develop = developOn(part(".sheet"));

  async function stop() {
    if (hasEnded(frame)) return;
    write(part(".stop"), "Stopping…");
    write(part(".note"), (await acts.stop(frame)) ?? "");
  }

  introduce(part, detail, epoch);
  offer(part, detail, acts, film);
  onPress(part(".stop"), stop);
  layStrip(part(".strip"), film);
  return {
    content, film, stop,
    /**
     * @param {Frame} newer
     * @param {State} state
     */
    show(newer, state) {
      frame = newer;
      paint(part, frame, state, epoch);
      develop(newestPicture(frame, epoch));
    },
  };
}

/**
 * What never changes in a frame.
 * @param {Part} part
 * @param {Detail} detail
 * @param {string} epoch
 */
function introduce(part, detail, epoch) {
  const { frame } = detail;
  write(part(".title"), `Frame ${frame.id}`);
  write(part(".prompt"), frame.prompt);
  write(part(".negative"), frame.negative_prompt ? `without: ${frame.negative_prompt}` : "");
  part(".sheet").style.setProperty("--ratio", `${frame.width} / ${frame.height}`);
  part("[role=progressbar]").setAttribute("aria-label", `Frame ${frame.id}`);
  part(".parameters").append(...parameters(detail));
  part(".story").append(...detail.events.map(eventRow));
  part(".log-link").href = `#/log?frame=${frame.id}`;
  for (const form of ["webp", "gif"]) part(`.${form}`).href = ofLog(`/api/frames/${frame.id}/animation.${form}`, epoch);
}

/**
 * What can be done with it.
 * @param {Part} part
 * @param {Detail} detail
 * @param {Acts} acts
 * @param {import("./film.js").Film} film
 */
async function offer(part, detail, acts, film) {
  const copy = part(".copy");
  onPress(part(".again"), async () => write(part(".note"), (await acts.again(detail.again)) ?? ""));
  onPress(copy, async () => {
    await navigator.clipboard.writeText(`${JSON.stringify(detail.again, null, 2)}\n`);
    write(copy, "Copied");
  });
  part(".choose").addEventListener("click", () => acts.choose(detail.frame.id));
  part(".play").addEventListener("click", film.play);
  const steps = await film.load();
  for (const name of [".play", ".webp", ".gif"]) part(name).hidden = steps.length < 2;
}

/**
 * What changes, each time written whole.
 * @param {Part} part
 * @param {Frame} frame
 * @param {State} state
 * @param {string} epoch
 */
function paint(part, frame, state, epoch) {
  const [bar, stopper, download] = [part("[role=progressbar]"), part(".stop"), part(".download")];
  write(part(".step"), stepText(frame));
  write(part(".pace"), hasEnded(frame) ? "" : paceTexts(frame, state.makings.get(frame.id)).join(" · "));
  bar.setAttribute("aria-valuemax", String(frame.steps));
  bar.setAttribute("aria-valuenow", String(frame.step));
  bar.style.setProperty("--done", String(frame.step / frame.steps));
  bar.hidden = stopper.hidden = hasEnded(frame);
  write(stopper, frame.status === "stopping" ? "Stopping…" : "Stop");
  download.hidden = frame.path === null;
  download.href = finalUrl(frame, epoch);
  download.download = fileName(frame);
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
