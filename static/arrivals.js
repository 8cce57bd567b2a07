// @ts-check
/**
 * What lies in the inbox and is not taken: which file waits, and why, and how many entries are ignored.
 *
 * The folder is no part of the log, so nothing tells of it: it is asked for as often as it is scanned, and only
 * while someone can see the answer. The section stands before the wall and is not there while there is nothing
 * to say.
 */
import { waitingFiles } from "./api.js";
import { ignoredText, waitingText } from "./words.js";
import { write } from "./write.js";

/** Milliseconds from an answer to the next question. */
const EVERY = 2000;
/** Files that are named; the rest is counted. */
const SHOWN = 8;

/** @param {HTMLElement} wall */
export async function showArrivals(wall) {
  const section = document.createElement("section");
  section.id = "arrivals";
  section.hidden = true;
  section.setAttribute("aria-label", "Inbox");
  const list = section.appendChild(document.createElement("ul"));
  wall.before(section);
  for (;;) {
    const found = await waitingFiles();
    if (found) {
      const lines = lineTexts(found);
      section.hidden = lines.length === 0;
      writeLines(list, lines);
    }
    await later();
  }
}

/**
 * @param {import("./api.js").Arrivals} found
 * @returns {string[]}
 */
function lineTexts({ waiting, more, ignored }) {
  const rest = waiting.length - SHOWN + more;
  return [
    ...waiting.slice(0, SHOWN).map(waitingText),
    ...(rest > 0 ? [`… and ${rest} more files wait`] : []),
    ...(ignored > 0 ? [ignoredText(ignored)] : []),
  ];
}

/**
 * @param {HTMLElement} list
 * @param {string[]} lines
 */
function writeLines(list, lines) {
  while (list.childElementCount > lines.length) list.lastElementChild?.remove();
  lines.forEach((line, index) => write(list.children[index] ?? list.appendChild(document.createElement("li")), line));
}

/** The next time to ask: not before someone looks. */
const later = () =>
  new Promise((resolve) => {
    setTimeout(() => {
      if (document.visibilityState === "visible") resolve(null);
      else document.addEventListener("visibilitychange", () => resolve(null), { once: true });
    }, EVERY);
  });
