// @ts-check
/**
 * The keyboard: one listener for the page, one table that is also the help.
 *
 * A key does nothing while someone types, nor with a modifier that belongs to the browser; a button keeps
 * its Space and a slider its arrows. What a key means depends on where one is: each view brings the acts
 * that it can do, and keys without one are left to the browser.
 *
 * @typedef {"next" | "previous" | "down" | "up" | "enter" | "stop" | "play" | "back" | "on" | "compare" | "undo" | "search" | "help" | "leave"} Act
 * @typedef {Partial<Record<Act, () => void>>} Acts
 */
import { make } from "./write.js";

/** @type {[string, string[], Act, string][]} what is shown, the keys, the act, in words */
const KEYS = [
  ["j →", ["j", "ArrowRight"], "next", "next picture"],
  ["k ←", ["k", "ArrowLeft"], "previous", "previous picture"],
  ["↓", ["ArrowDown"], "down", "the picture below"],
  ["↑", ["ArrowUp"], "up", "the picture above"],
  ["Enter", ["Enter"], "enter", "look closer"],
  ["x", ["x"], "stop", "stop it"],
  ["Space", [" "], "play", "play its development, or the whole wall's"],
  ["[", ["["], "back", "one step back"],
  ["]", ["]"], "on", "one step on"],
  ["c", ["c"], "compare", "choose it for a comparison"],
  ["u", ["u"], "undo", "undo what was done last, while that is offered"],
  ["/", ["/"], "search", "search the history, or in the log"],
  ["?", ["?"], "help", "show these keys"],
  ["Esc", ["Escape"], "leave", "leave, or come back to now"],
];

/** @type {ReadonlyMap<string, Act>} */
const ACTS = new Map(KEYS.flatMap(([, keys, act]) => keys.map((key) => /** @type {[string, Act]} */ ([key, act]))));

/**
 * @param {() => Acts} acts  those of where one is now
 */
export function listenForKeys(acts) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const act = ACTS.get(event.key);
    if (!act || belongsTo(event.target, event.key)) return;
    const does = acts()[act];
    if (!does) return;
    event.preventDefault();
    does();
  });
}

/**
 * Whether the key is the focused control's own.
 * @param {EventTarget | null} target
 * @param {string} key
 */
function belongsTo(target, key) {
  if (!(target instanceof HTMLElement)) return false;
  if (key === "Escape") return false;
  if (target instanceof HTMLInputElement && target.type === "range") return key.startsWith("Arrow");
  if (target.matches("input, textarea, select, [contenteditable]")) return true;
  return [" ", "Enter"].includes(key) && target.matches("button, a, summary");
}

/** @param {HTMLElement} list  a definition list */
export function writeHelp(list) {
  for (const [shown, , , words] of KEYS) {
    const keys = shown.split(" ").map((key) => make("kbd", {}, key));
    list.append(make("div", {}, make("dt", {}, ...keys), make("dd", {}, words)));
  }
}
