// @ts-check
/**
 * What a person who does not see the wall is told: a picture began, got a quarter further, is done, failed.
 *
 * `tidings` is pure; `makeAnnouncer` writes to the page's one polite live region, at most every five
 * seconds, what is newest of each frame by then. Twenty-four steps read out would drown everything else.
 *
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./fold.js").Message} Message
 */
import { write } from "./write.js";

/** Milliseconds between two announcements. */
const PAUSE = 5000;
/** Of frames that have news at once, those that are named. */
const NAMED = 3;

/**
 * What an event means to a listener; null for most.
 * @param {State} before  the state that the event is folded into
 * @param {Message} message
 * @returns {{ frame: number, text: string } | null}
 */
export function tidings(before, { seq, type, data }) {
  const frame = before.frames.get(data.frame);
  if (!frame || seq <= before.position) return null;
  const name = `${shortened(frame.prompt)}, frame ${frame.id}`;
  const quarter = (/** @type {number} */ step) => Math.floor((4 * step) / frame.steps);
  if (type === "FrameCreated") return { frame: frame.id, text: `${name}: begun.` };
  if (type === "PreviewWritten") {
    const passed = quarter(data.step);
    if (passed === quarter(frame.step) || passed === 0 || passed === 4) return null;
    return { frame: frame.id, text: `${name}: ${["", "a quarter", "half", "three quarters"][passed]} done.` };
  }
  if (type === "FinalWritten") return { frame: frame.id, text: `${name}: done.` };
  if (type === "FrameFailed") return { frame: frame.id, text: `${name}: failed. ${data.message}` };
  return null;
}

/** @param {string} prompt */
const shortened = (prompt) => (prompt.length > 60 ? `${prompt.slice(0, 59)}…` : prompt);

/**
 * @param {HTMLElement} region
 * @param {number} [pause]  milliseconds
 * @returns {(news: { frame: number, text: string } | null) => void}
 */
export function makeAnnouncer(region, pause = PAUSE) {
  /** @type {Map<number, string>} */
  const unsaid = new Map();
  let quiet = false;

  function say() {
    quiet = unsaid.size > 0;
    if (!quiet) return;
    const texts = [...unsaid.values()];
    const more = texts.length > NAMED ? ` And ${texts.length - NAMED} more.` : "";
    write(region, texts.slice(-NAMED).join(" ") + more);
    unsaid.clear();
    setTimeout(say, pause);
  }

  return (news) => {
    if (!news) return;
    unsaid.delete(news.frame);
    unsaid.set(news.frame, news.text);
    if (!quiet) say();
  };
}
