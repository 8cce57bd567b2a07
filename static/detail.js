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
import { lookAt } from "./closer.js";
import { hasEnded, saysTheSame } from "./fold.js";
import { byId, make } from "./write.js";

/**
 * @param {import("./closer.js").Acts} acts
 * @param {(dialog: HTMLElement | null) => void} over  it lies over the page now, or no more
 * @param {() => void} left  once it is closed
 */
export function makeDetail(acts, over, left) {
  const dialog = /** @type {HTMLDialogElement} */ (byId("frame"));
  const body = /** @type {HTMLElement} */ (dialog.firstElementChild);
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
    body.replaceChildren();
    over(null);
    left();
  });

  /** @param {number} wanted */
  async function load(wanted) {
    const detail = await frameDetail(wanted);
    if (id !== wanted || !state) return;
    if ("trouble" in detail) {
      body.replaceChildren(make("p", { className: "trouble" }, detail.trouble), make("button", { type: "button", className: "close" }, "Close"));
      return;
    }
    shown?.film.leave();
    shown = lookAt(template, state.epoch, detail, acts);
    body.replaceChildren(shown.content);
    shown.show(state.frames.get(wanted) ?? detail.frame, state);
  }

  return {
    /** @param {number | null} frame  null: close */
    look(frame) {
      if (frame === null) return dialog.open && dialog.close();
      if (frame === id) return;
      id = frame;
      if (!dialog.open) {
        dialog.showModal();
        over(dialog);
      }
      if (state) load(frame);
    },
    /** @param {State} newest */
    follow(newest) {
      const first = state === null;
      const before = id ? state?.frames.get(id) : undefined;
      state = newest;
      const frame = id ? newest.frames.get(id) : undefined;
      if (first && id) load(id);
      else if (frame && before && frame !== before && !(hasEnded(frame) === hasEnded(before) && saysTheSame(before, frame))) load(id); // its recipe is known now, or its words are forgotten
      else if (frame && shown) shown.show(frame, newest);
    },
    isOpen: () => dialog.open,
    frame: () => id,
    film: () => shown?.film ?? null,
    stop: () => shown?.stop(),
  };
}
