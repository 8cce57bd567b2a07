// @ts-check
/**
 * The finished picture at full size, in a dialog: Esc, its button or a click beside it closes, and the
 * browser gives the focus back to the card it came from.
 *
 * @typedef {import("./fold.js").Frame} Frame
 */
import { finalUrl } from "./pictures.js";
import { facts, fileName } from "./words.js";
import { writeItems } from "./write.js";

/**
 * @param {HTMLDialogElement} dialog
 * @returns {(frame: Frame, epoch: string) => void} opens it
 */
export function makePrint(dialog) {
  const image = /** @type {HTMLImageElement} */ (dialog.querySelector("img"));
  const download = /** @type {HTMLAnchorElement} */ (dialog.querySelector(".download"));
  const said = /** @type {HTMLElement} */ (dialog.querySelector(".prompt"));
  const told = /** @type {HTMLElement} */ (dialog.querySelector(".facts"));

  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog || (target instanceof Element && target.closest(".close"))) dialog.close();
  });
  // Without this the last picture would flash up before the next.
  dialog.addEventListener("close", () => image.removeAttribute("src"));

  return (frame, epoch) => {
    image.src = finalUrl(frame, epoch);
    image.alt = frame.prompt;
    image.width = frame.width;
    image.height = frame.height;
    said.textContent = frame.prompt;
    writeItems(told, facts(frame));
    download.href = image.src;
    download.download = fileName(frame);
    dialog.showModal();
  };
}
