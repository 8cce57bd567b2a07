// @ts-check
/**
 * Where each frame hangs on the wall: developing, waiting or ended, and in which order.  PURE
 *
 * The order says what a person watches for: pictures that develop stay where they are, the queue
 * stands as it will be worked off, and what ended last is seen first.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {"developing" | "waiting" | "ended"} Place
 */
import { hasEnded } from "./fold.js";

/** Priorities that a prompt may have. */
const PRIORITIES = { least: -1000, most: 1000 };

/**
 * A frame asked to stop before it began stays in the queue's row: it must not jump away under the hand.
 * @param {Frame} frame
 * @returns {Place}
 */
export function placeOf(frame) {
  if (hasEnded(frame)) return "ended";
  const begun = frame.status === "running" || (frame.status === "stopping" && frame.created_at !== null);
  return begun ? "developing" : "waiting";
}

/**
 * @param {Frame} a
 * @param {Frame} b
 */
function newestFirst(a, b) {
  const [one, other] = [a.finished_at ?? "", b.finished_at ?? ""];
  if (one === other) return b.id - a.id;
  return one > other ? -1 : 1;
}

/** @type {Record<Place, (a: Frame, b: Frame) => number>} */
const ORDER = {
  developing: (a, b) => a.id - b.id,
  waiting: (a, b) => b.priority - a.priority || a.id - b.id,
  ended: newestFirst,
};

/**
 * @param {Iterable<Frame>} frames
 * @returns {Record<Place, Frame[]>}
 */
export function arrange(frames) {
  /** @type {Record<Place, Frame[]>} */
  const wall = { developing: [], waiting: [], ended: [] };
  for (const frame of frames) wall[placeOf(frame)].push(frame);
  wall.developing.sort(ORDER.developing);
  wall.waiting.sort(ORDER.waiting);
  wall.ended.sort(ORDER.ended);
  return wall;
}

/**
 * The priorities that move a job past the one ahead of it, and past the one behind; null where there is
 * none, or no such priority. Jobs of one priority stand as they came, so one step may pass several.
 * @param {readonly Frame[]} waiting  in the order of the queue
 * @param {number} job
 * @returns {{ sooner: number | null, later: number | null }}
 */
export function moves(waiting, job) {
  const queue = [...new Map(waiting.map((frame) => [frame.job, frame])).values()];
  const place = queue.findIndex((frame) => frame.job === job);
  const [ahead, behind] = [queue[place - 1], queue[place + 1]];
  return {
    sooner: ahead ? within(ahead.job > job ? ahead.priority : ahead.priority + 1) : null,
    later: behind ? within(behind.job < job ? behind.priority : behind.priority - 1) : null,
  };
}

/** @param {number} priority */
const within = (priority) => (priority < PRIORITIES.least || priority > PRIORITIES.most ? null : priority);
