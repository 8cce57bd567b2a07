// @ts-check
/**
 * What the page asks of the daemon, and the only place that does.
 *
 * No request throws and none is swallowed: an answer, a refusal and a silence all come back as a value
 * that can be shown. Routes and shapes are those of `docs/http.md`.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").Message} Message
 * @typedef {{ path: string, line: number, column: number, message: string, suggestion: string | null }} Fault
 * @typedef {{ job: number, frames: number[] }} Accepted
 * @typedef {{ name: string, label: string, schedulers: string[] }} Sampler
 * @typedef {{ model: string, checkpoints: string[], loras: string[], embeddings: string[], samplers: Sampler[], schedulers: string[] }} Stock
 * @typedef {{ waiting: { name: string, why: string }[], more: number, ignored: number }} Arrivals
 *
 * @typedef {{ position: number, total: number, next: number | null, models: string[], projects: string[], frames: Frame[] }} Page
 * @typedef {{ position: number, events: Message[], next: number | null }} LogPage
 * @typedef {{ step: number, sigma: number, width: number, height: number, bytes: number, url: string }} Kept
 * @typedef {{ frame: number, steps: Kept[], final: Kept | null }} Strip
 *
 * @typedef {object} Detail
 * @property {number} position
 * @property {Frame} frame
 * @property {Record<string, any>} prompt
 * @property {Record<string, any>} again  a prompt that makes this one picture again
 * @property {Record<string, any> | null} recipe
 * @property {Record<string, any>} source
 * @property {Message[]} events
 *
 * @typedef {{ trouble: string }} Trouble  what went wrong, in words
 */

/** Milliseconds. An answer comes once the event is in the log, which takes a few; a minute's silence helps nobody. */
const PATIENCE = 10_000;
const SILENCE = "Safelight did not answer.";

/**
 * Ask for a frame to be stopped.
 * @param {Frame} frame
 * @returns {Promise<string | null>} what went wrong, in words; null once the request is in the log
 */
export const requestStop = (frame) => told(`/api/frames/${frame.id}/cancel`, { step: frame.step }, "to stop");

/** @param {number} job */
export const stopJob = (job) => told(`/api/jobs/${job}/cancel`, {}, "to stop the job");

/** @param {"all" | "all-but-running"} scope */
export const stopAll = (scope) => told("/api/cancel", { scope }, "to stop them");

/**
 * Pause or resume the queue.
 * @param {"pause" | "resume"} wish
 */
export const askQueue = (wish) => told(`/api/queue/${wish}`, {}, `to ${wish}`);

/**
 * @param {number} job
 * @param {number} priority
 */
export const prioritise = (job, priority) => told(`/api/jobs/${job}/priority`, { priority }, "to move the job");

/**
 * Have something changed.
 * @param {string} path
 * @param {object} content
 * @param {string} wish
 * @returns {Promise<string | null>} what went wrong, in words; null once it is in the log
 */
async function told(path, content, wish) {
  const { status, body } = await post(path, content);
  if (status === 200) return null;
  if (status === 0) return `The request ${wish} was lost: ${SILENCE} Try again.`;
  return refusal(status, body);
}

/**
 * Send a prompt.
 * @param {Record<string, unknown>} prompt
 * @returns {Promise<{ accepted: Accepted } | { faults: Fault[] } | Trouble>}
 */
export async function sendPrompt(prompt) {
  const { status, body } = await post("/api/jobs", prompt);
  if (status === 201) return { accepted: body };
  if (status === 422) return { faults: body.faults };
  if (status === 0) return { trouble: `${SILENCE} Your prompt is still here: try again.` };
  return { trouble: refusal(status, body) };
}

/**
 * What a prompt may name.
 * @returns {Promise<Stock | Trouble>}
 */
export const stock = () => get("/api/stock");

/**
 * A page of the history, newest first.
 * @param {URLSearchParams} query
 * @returns {Promise<Page | Trouble>}
 */
export const framesPage = (query) => get(`/api/frames?${query}`);

/**
 * All that is known of a frame.
 * @param {number} frame
 * @returns {Promise<Detail | Trouble>}
 */
export const frameDetail = (frame) => get(`/api/frames/${frame}`);

/**
 * The kept steps of a frame's development.
 * @param {number} frame
 * @returns {Promise<Strip | Trouble>}
 */
export const frameStrip = (frame) => get(`/api/frames/${frame}/strip`);

/**
 * Everything as it was after an event.
 * @param {number} seq
 * @returns {Promise<(import("./fold.js").Snapshot & { ts: string }) | Trouble>}
 */
export const stateAt = (seq) => get(`/api/state?at=${seq}`);

/**
 * A page of the log.
 * @param {URLSearchParams} query
 * @returns {Promise<LogPage | Trouble>}
 */
export const logPage = (query) => get(`/api/log?${query}`);

/**
 * @param {string} path
 * @returns {Promise<any>} the body, or a Trouble
 */
async function get(path) {
  const { status, body } = await request(path, {});
  if (status === 200) return body;
  return { trouble: status === 0 ? `${SILENCE} Try again.` : refusal(status, body) };
}

/**
 * @param {string} path
 * @param {object} content
 */
const post = (path, content) =>
  request(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(content) });

/**
 * @param {string} path
 * @param {RequestInit} how
 * @returns {Promise<{ status: number, body: any }>} status 0: no answer
 */
async function request(path, how) {
  try {
    const response = await fetch(path, { ...how, signal: AbortSignal.timeout(PATIENCE) });
    return { status: response.status, body: parsed(await response.text()) };
  } catch {
    return { status: 0, body: null }; // fetch rejects only for a lost connection or for PATIENCE
  }
}

/**
 * @param {number} status
 * @param {any} body
 * @returns {string}
 */
const refusal = (status, body) => body?.error ?? `Safelight answered ${status}.`;

/**
 * A refusal by a guard in front of the routes may be plain text.
 * @param {string} text
 */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text ? { error: text } : null;
  }
}

/**
 * What lies in the inbox and is not taken yet.
 * @returns {Promise<Arrivals | null>} null: no answer
 */
export async function waitingFiles() {
  try {
    const response = await fetch("/api/inbox?limit=20", { signal: AbortSignal.timeout(PATIENCE) });
    return response.ok ? await response.json() : null;
  } catch {
    return null; // as for every request: a lost connection or PATIENCE
  }
}
