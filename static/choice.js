// @ts-check
/**
 * The pictures chosen for a comparison, and the tray at the window's foot that counts them.
 */
import { make, write } from "./write.js";

/** More would be too small to compare. */
const MOST = 6;

/**
 * @param {HTMLElement} tray
 * @param {(frames: ReadonlySet<number>) => void} changed  after each change; the frames that it is about
 */
export function makeChoice(tray, changed) {
  /** @type {Set<number>} */
  const chosen = new Set();
  const said = make("span");
  const link = make("a", { className: "button primary" }, "Compare");
  const clear = make("button", { type: "button", onclick: clearAll }, "Clear");
  tray.append(said, link, clear);

  function clearAll() {
    const before = new Set(chosen);
    chosen.clear();
    paint(before);
  }

  /** @param {ReadonlySet<number>} about */
  function paint(about) {
    tray.hidden = chosen.size === 0;
    write(said, chosen.size === 1 ? "1 picture chosen; choose another one to compare" : `${chosen.size} pictures chosen`);
    link.href = `#/compare/${[...chosen].join(",")}`;
    link.hidden = chosen.size < 2;
    changed(about);
  }

  return {
    chosen: /** @type {ReadonlySet<number>} */ (chosen),
    /** @param {number} frame */
    toggle(frame) {
      if (!chosen.delete(frame) && chosen.size < MOST) chosen.add(frame);
      paint(new Set([frame]));
    },
    /** The address that compares them; null while there are too few. */
    address: () => (chosen.size < 2 ? null : link.hash),
  };
}
