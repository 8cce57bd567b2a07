// @ts-check
/**
 * Filters: what a form of them says, and whether an event passes them.
 *
 * @typedef {import("./fold.js").Message} Message
 */

/**
 * What was filled in.
 * @param {HTMLFormElement} form
 */
export function filled(form) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (String(value).trim()) query.append(name, String(value).trim());
  return query;
}

/**
 * Whether an event passes the log's filters, by the same rules as `GET /api/log`.  PURE
 * @param {Message} message
 * @param {URLSearchParams} filter
 */
export function passes({ type, data }, filter) {
  const [wanted, frame, job, text] = ["type", "frame", "job", "text"].map((name) => filter.get(name) ?? "");
  return (!wanted || wanted === type) && (!frame || Number(frame) === data.frame) && (!job || Number(job) === data.job) && (!text || says(type, data, text));
}

/**
 * Whether each word occurs in the event's type or in what it says, whatever the case; fields' names say nothing.
 * @param {string} type
 * @param {Record<string, any>} data
 * @param {string} text
 */
function says(type, data, text) {
  const said = `${type} ${written(data).replace(/"\w+":/g, " ")}`.toLowerCase();
  return text.split(/\s+/).every((word) => said.includes(written(word).slice(1, -1).toLowerCase()));
}

/** @param {unknown} value */
const written = (value) => JSON.stringify(value);
