// @ts-check
/**
 * One event as a row: its number, when, what, of which frame or job, and the hash that chains it to the
 * one before. The whole of it opens beneath.
 *
 * @typedef {import("./fold.js").Message} Message
 */
import { summary } from "./summary.js";
import { momentText } from "./words.js";
import { make } from "./write.js";

/** Characters of a hash that tell it from its neighbours; the whole is in the opened row. */
const HASH_SHOWN = 10;

/**
 * @param {Message} message
 * @returns {HTMLElement}
 */
export function eventRow(message) {
  const { seq, ts, type, hash = "" } = message;
  const details = make("details", { className: "event" },
    make("summary", {},
      make("span", { className: "seq" }, String(seq)),
      make("time", { dateTime: ts, title: ts }, momentText(ts)),
      make("span", { className: `type ${kindOf(type)}` }, type),
      make("span", { className: "whom" }, whom(message)),
      make("span", { className: "words" }, summary(message)),
      make("code", { className: "hash", title: hash }, hash.slice(0, HASH_SHOWN))));
  details.addEventListener("toggle", () => {
    if (details.childElementCount === 1) details.append(whole(message));
  });
  details.dataset.seq = String(seq);
  details.dataset.type = type;
  return details;
}

/** @param {Message} message */
function whole({ data, cause, hash = "" }) {
  const links = [];
  if (data.frame) links.push(make("a", { href: `#/frame/${data.frame}` }, `frame ${data.frame}`));
  if (cause !== null) links.push(make("span", {}, `caused by event ${cause}`));
  if (hash) links.push(make("code", { className: "whole-hash" }, `hash ${hash}`));
  return make("div", { className: "whole" }, make("p", {}, ...links), make("pre", { tabIndex: 0, role: "region", "aria-label": "The event's data" }, JSON.stringify(data, null, 2)));
}

/** @param {Message} message */
function whom({ data }) {
  if (data.frame) return `frame ${data.frame}`;
  return data.job ? `job ${data.job}` : "";
}

/**
 * What deserves a second look is coloured: an end by itself, and one that was not meant.
 * @param {string} type
 */
function kindOf(type) {
  if (/Failed|Rejected|Missing|Interrupted/.test(type)) return "bad";
  return type === "FinalWritten" ? "good" : "";
}
