// @ts-check
/**
 * One picture in the history's grid: small, with its prompt and how it ended, and a link to all of it.
 *
 * @typedef {import("./fold.js").Frame} Frame
 */
import { ofLog } from "./pictures.js";
import { dayText, stepText } from "./words.js";
import { make } from "./write.js";

/**
 * @param {Frame | undefined} frame  undefined while its page is on the way
 * @param {string} epoch
 * @param {ReadonlySet<number>} chosen
 * @returns {HTMLElement}
 */
export function cellOf(frame, epoch, chosen) {
  if (!frame) return make("div", { className: "cell blank", "aria-hidden": "true" }, make("div", { className: "thumb" }));
  const cell = make("a", { className: "cell", href: `#/frame/${frame.id}`, title: `${frame.prompt}\n${stepText(frame)}` },
    thumb(frame, epoch),
    make("span", { className: "prompt" }, frame.prompt),
    make("span", { className: "facts" }, `${frame.id} · ${frame.status === "done" ? dayText(new Date(frame.finished_at ?? frame.queued_at)) : frame.status}`));
  cell.dataset.frame = String(frame.id);
  cell.dataset.status = frame.status;
  cell.classList.toggle("chosen", chosen.has(frame.id));
  return cell;
}

/**
 * The finished picture, small; of one that was stopped or failed its last kept step.
 * @param {Frame} frame
 * @param {string} epoch
 */
function thumb(frame, epoch) {
  const box = make("span", { className: "thumb" });
  if (frame.status === "queued" || (!frame.path && !frame.step)) return box;
  const step = frame.path ? "" : `?step=${frame.step}`;
  const image = make("img", { alt: "", decoding: "async" });
  image.addEventListener("error", () => image.remove());
  image.src = ofLog(`/frames/${frame.id}/thumbnail${step}`, epoch);
  box.append(image);
  return box;
}
