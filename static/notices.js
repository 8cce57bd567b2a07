// @ts-check
/**
 * What no card can show (a refused file, a model that does not load) and what was just done, with a way
 * back where there is one; until a person waves it away.
 *
 * Notices lie at the window's foot, over the page: one that comes or goes moves no button under a hand. Over
 * a dialog they lie within it, as nothing outside can be reached then.
 */
import { make } from "./write.js";

/** More than these would push the pictures off the window; the log has all of them. */
const KEPT = 4;
/** Milliseconds that an offer to undo stays. */
const UNDO = 12_000;

/**
 * @typedef {(text: string, undo?: () => Promise<string | null>) => void} Notify
 *   `undo` answers what went wrong, in words
 */

/**
 * @param {HTMLElement} list
 * @returns {{ notify: Notify, undo: () => void, over: (dialog: HTMLElement | null) => void }}
 *   `undo` takes back what was done last, while that is offered
 */
export function makeNotices(list) {
  /** @type {Notify} */
  function notify(text, undo) {
    const notice = make("p", {}, make("span", {}, text));
    if (undo) notice.append(undoButton(notice, undo, notify));
    notice.append(make("button", { type: "button", onclick: () => notice.remove() }, "Dismiss"));
    list.prepend(notice);
    while (list.childElementCount > KEPT) list.lastElementChild?.remove();
    if (undo) setTimeout(() => notice.contains(document.activeElement) || notice.remove(), UNDO);
  }
  const home = list.parentElement;
  return {
    notify,
    undo: () => /** @type {HTMLElement | null} */ (list.querySelector(".undo"))?.click(),
    over: (dialog) => (dialog ?? home)?.append(list),
  };
}

/**
 * @param {HTMLElement} notice
 * @param {() => Promise<string | null>} undo
 * @param {Notify} notify
 */
function undoButton(notice, undo, notify) {
  return make("button", { type: "button", className: "undo", onclick: async () => {
    notice.remove();
    const trouble = await undo();
    if (trouble) notify(trouble);
  } }, "Undo");
}
