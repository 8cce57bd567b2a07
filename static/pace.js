// @ts-check
/**
 * How fast pictures develop: step times, what is left of a picture, and how long the queue is.  PURE
 *
 * A picture's own median step time says how long it still takes; the mean would be spoilt by one slow
 * step (the first after a model was loaded, a machine that swapped). The wait in the queue is told apart:
 * it is made of other people's pictures.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").Message} Message
 *
 * @typedef {object} Making  one frame's attempt under way, as far as its events were heard
 * @property {number} step  the last one that has a picture; 0 before the first
 * @property {number} at  when that was, in milliseconds since 1970; NaN before the first
 * @property {number | null} sigma  the noise that is left after that step
 * @property {readonly number[]} times  milliseconds a step, the newest last
 *
 * @typedef {ReadonlyMap<number, Making>} Makings  by frame
 */

/** Step times kept: enough for a median, few enough to follow a machine that slows down. */
const KEPT = 15;
/** Steps before an estimate is worth saying. */
const STEPS_UNTIL_ESTIMATE = 3;

const BEGINS = new Set(["FrameCreated", "FrameResumed"]);
const ENDS = new Set(["FinalWritten", "FrameCancelled", "FrameFailed", "FrameInterrupted"]);

/**
 * The attempts under way after one more event; the same object if it is about none of them.
 * @param {Makings} makings
 * @param {Message} message
 * @returns {Makings}
 */
export function observe(makings, { type, data, ts }) {
  if (BEGINS.has(type)) return new Map(makings).set(data.frame, { step: data.step ?? 0, at: NaN, sigma: null, times: [] });
  if (type === "PreviewWritten") return stepped(makings, data, Date.parse(ts));
  if (!ENDS.has(type) || !makings.has(data.frame)) return makings;
  const left = new Map(makings);
  left.delete(data.frame);
  return left;
}

/**
 * Steps that were skipped or left out of the stream share the time between the two that were heard of.
 * @param {Makings} makings
 * @param {Record<string, any>} data
 * @param {number} at
 */
function stepped(makings, { frame, step, sigma }, at) {
  const known = makings.get(frame);
  if (known && step <= known.step) return makings;
  const time = known ? (at - known.at) / (step - known.step) : NaN;
  const times = Number.isFinite(time) ? [...(known?.times ?? []), time].slice(-KEPT) : (known?.times ?? []);
  return new Map(makings).set(frame, { step, at, sigma, times });
}

/** @param {readonly number[]} numbers  at least one */
export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/**
 * Seconds until a frame's last step is made; null while that is a guess.
 * @param {Frame} frame
 * @param {Making | undefined} making
 */
export function secondsLeft(frame, making) {
  if (!making || making.step < STEPS_UNTIL_ESTIMATE || !making.times.length) return null;
  return (median(making.times) * (frame.steps - making.step)) / 1000;
}

/**
 * Seconds until each waiting frame begins, from what like pictures took; frames behind one that nothing
 * is known of are left out.
 * @param {readonly Frame[]} developing
 * @param {readonly Frame[]} waiting  in the order of the queue
 * @param {Makings} makings
 * @param {ReadonlyMap<string, number>} paces  as of `stepPaces`
 * @param {number} devices
 * @returns {Map<number, number>} by frame
 */
export function waits(developing, waiting, makings, paces, devices) {
  /** @type {Map<number, number>} */
  const known = new Map();
  const running = developing.map((frame) => secondsLeft(frame, makings.get(frame.id)) ?? wholePicture(frame, paces));
  if (running.some((left) => left === null)) return known;
  const free = Array(Math.max(devices, running.length, 1)).fill(0);
  running.forEach((left, index) => (free[index] = left));
  for (const frame of waiting) {
    const device = free.indexOf(Math.min(...free));
    known.set(frame.id, free[device]);
    const takes = wholePicture(frame, paces);
    if (takes === null) break;
    free[device] += takes;
  }
  return known;
}

/**
 * @param {Frame} frame
 * @param {ReadonlyMap<string, number>} paces
 */
function wholePicture(frame, paces) {
  const pace = paces.get(kindOf(frame));
  return pace === undefined ? null : pace * (frame.steps - frame.step);
}

/** @param {Frame} frame */
const kindOf = ({ model, width, height, sampler }) => [model, width, height, sampler].join(" ");

/**
 * Seconds a step, begin and end of a picture included, of each kind of picture that is finished.
 * @param {Iterable<Frame>} frames
 * @returns {Map<string, number>}
 */
export function stepPaces(frames) {
  /** @type {Map<string, number[]>} */
  const took = new Map();
  for (const frame of frames) {
    if (frame.status !== "done" || frame.created_at === null || frame.finished_at === null) continue;
    const seconds = (Date.parse(frame.finished_at) - Date.parse(frame.created_at)) / 1000;
    const times = took.get(kindOf(frame)) ?? [];
    took.set(kindOf(frame), [...times.slice(-KEPT), seconds / frame.steps]);
  }
  return new Map([...took].map(([kind, times]) => [kind, median(times)]));
}
