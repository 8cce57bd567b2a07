// @ts-check
/**
 * Taking back a Stop: what had not begun has lost nothing, and is queued anew with the same prompt and seed.
 *
 * An end in the log stands, so it comes back under new numbers, and behind what waits at its priority.
 *
 * @typedef {import("./fold.js").Frame} Frame
 */
import { frameDetail, sendPrompt } from "./api.js";

/** Jobs that are brought back at once, at most: each is asked about first. */
const MOST = 50;

/**
 * The frames as whole jobs would make them: of one job, each seed following the last.  PURE
 * @param {readonly Frame[]} frames
 * @returns {{ first: Frame, count: number }[]}
 */
export function runs(frames) {
  /** @type {{ first: Frame, count: number }[]} */
  const found = [];
  for (const frame of [...frames].sort((a, b) => a.id - b.id)) {
    const last = found.at(-1);
    const follows = last && last.first.job === frame.job && last.first.seed + last.count === frame.seed;
    if (follows) last.count += 1;
    else found.push({ first: frame, count: 1 });
  }
  return found;
}

/**
 * What says that these frames were stopped, and takes it back; null where there is nothing to take back.
 * @param {readonly Frame[]} stopped  as they were when that was asked for
 * @returns {{ text: string, undo: () => Promise<string | null> } | null}
 */
export function takingBack(stopped) {
  const unbegun = stopped.filter(({ status, created_at }) => status === "queued" && created_at === null);
  const jobs = runs(unbegun);
  if (!jobs.length || jobs.length > MOST) return null;
  const text = unbegun.length === 1 ? `Frame ${unbegun[0].id} was stopped before it began.` : `${unbegun.length} frames were stopped before they began.`;
  return { text, undo: () => queueAnew(jobs) };
}

/**
 * @param {{ first: Frame, count: number }[]} jobs
 * @returns {Promise<string | null>} what went wrong, in words
 */
async function queueAnew(jobs) {
  const prompts = [];
  for (const { first, count } of jobs) {
    const found = await frameDetail(first.id);
    if ("trouble" in found) return found.trouble;
    prompts.push({ ...found.again, count, priority: first.priority });
  }
  const answer = await sendPrompt({ jobs: prompts });
  return "accepted" in answer ? null : "trouble" in answer ? answer.trouble : answer.faults.map(({ message }) => message).join(" ");
}
