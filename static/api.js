// @ts-check
/**
 * What the page asks of the daemon, and the only place that does.
 *
 * No request throws and none is swallowed: an answer, a refusal and a silence all come back as a value
 * that can be shown.
 *
 * @typedef {{ path: string, line: number, column: number, message: string, suggestion: string | null }} Fault
 * @typedef {{ job: number, frames: number[] }} Accepted
 * @typedef {{ waiting: { name: string, why: string }[], more: number, ignored: number }} Arrivals
 */

/** Milliseconds. An answer comes once the event is in the log, which takes a few; a minute's silence helps nobody. */
const PATIENCE = 10_000;
const SILENCE = "Safelight did not answer.";

/**
 * Ask for a frame to be stopped.
 * @param {import("./fold.js").Frame} frame
 * @returns {Promise<string | null>} what went wrong, in words; null once the request is in the log
 */
export async function requestStop(frame) {
  const { status, body } = await post(`/api/frames/${frame.id}/cancel`, { step: frame.step });
  if (status === 200) return null;
  if (status === 0) return `The request to stop was lost: ${SILENCE} Try again.`;
  return `Not stopped: ${body?.error ?? `Safelight answered ${status}.`}`;
}

/**
 * Pause or resume the queue.
 * @param {"pause" | "resume"} wish
 * @returns {Promise<string | null>} what went wrong, in words; null once it is in the log
 */
export async function askQueue(wish) {
  const { status, body } = await post(`/api/queue/${wish}`, {});
  if (status === 200) return null;
  if (status === 0) return `The request to ${wish} was lost: ${SILENCE} Try again.`;
  return body?.error ?? `Safelight answered ${status}.`;
}

/**
 * Send a prompt.
 * @param {Record<string, unknown>} prompt
 * @returns {Promise<{ accepted: Accepted } | { faults: Fault[] } | { trouble: string }>}
 */
export async function sendPrompt(prompt) {
  const { status, body } = await post("/api/jobs", prompt);
  if (status === 201) return { accepted: body };
  if (status === 422) return { faults: body.faults };
  if (status === 0) return { trouble: `${SILENCE} Your prompt is still here: try again.` };
  return { trouble: body?.error ?? `Safelight refused the prompt with ${status}.` };
}

/**
 * @param {string} path
 * @param {object} content
 * @returns {Promise<{ status: number, body: any }>} status 0: no answer
 */
async function post(path, content) {
  const request = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(content),
    signal: AbortSignal.timeout(PATIENCE),
  };
  try {
    const response = await fetch(path, request);
    return { status: response.status, body: parsed(await response.text()) };
  } catch {
    return { status: 0, body: null }; // fetch rejects only for a lost connection or for PATIENCE
  }
}

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
