// @ts-check
/**
 * What the page knows, as a pure fold of what the daemon says: `fold(state, message) → state`.  PURE
 *
 * No DOM, no clock, no network. `daemon/projections/frames.py` folds the same events to the same
 * fields, and `tests/histories/*.jsonl` hold both to it; the seconds and steps a person reads are
 * therefore the log's own. A state is never changed in place: a frame that is the same object as
 * before needs no painting.
 *
 * @typedef {"queued" | "running" | "stopping" | "done" | "cancelled" | "failed"} Status
 *
 * @typedef {object} Frame
 * @property {number} id
 * @property {number} job
 * @property {number} index  place within the job, from 0
 * @property {Status} status
 * @property {string} project
 * @property {string} model
 * @property {string} prompt
 * @property {string} negative_prompt
 * @property {number} seed
 * @property {number} width
 * @property {number} height
 * @property {number} cfg_scale
 * @property {string} sampler
 * @property {string} scheduler
 * @property {number} priority
 * @property {number} step  the last one that has a picture; once cancelled, the last one made
 * @property {number} steps
 * @property {number} attempt
 * @property {number} device_deaths  devices that died while making it and nothing else
 * @property {string | null} generator
 * @property {string | null} device
 * @property {string | null} path  of the final picture, until it is deleted or missed
 * @property {string | null} preview  of the preview file, while there is one
 * @property {string | null} error
 * @property {string} queued_at
 * @property {string | null} created_at
 * @property {string} updated_at
 * @property {string | null} finished_at
 *
 * @typedef {{ seq: number, ts: string, type: string, cause: number | null, data: Record<string, any>, hash?: string }} Message
 *
 * @typedef {object} State
 * @property {string} epoch  names the log: frame 7 of another log is another picture
 * @property {number} position  the last `seq` that is folded in
 * @property {string} version
 * @property {string} model
 * @property {string} inbox
 * @property {string[]} devices
 * @property {string | null} paused_by  who paused the queue; null while it runs
 * @property {ReadonlyMap<number, Frame>} frames
 * @property {number} older  ended frames that are not among `frames`
 * @property {import("./pace.js").Makings} makings  what is known of the attempts under way
 *
 * @typedef {Omit<State, "epoch" | "frames" | "makings"> & { frames: Frame[] }} Snapshot
 */
import { observe } from "./pace.js";

/**
 * Ended frames kept, those with the highest numbers, as in the daemon's snapshot: a page left open for a
 * month shows what a reload would.
 */
const ENDED_KEPT = 200;

/** What stands where words were. */
const REDACTED = "[redacted]";

/** @type {ReadonlySet<Status>} */
const ENDED = new Set(["done", "cancelled", "failed"]);

/** @param {Frame} frame */
export const hasEnded = (frame) => ENDED.has(frame.status);

/**
 * The state that a snapshot tells; whatever was known before is void.
 * @param {Snapshot} snapshot
 * @param {string} epoch
 * @returns {State}
 */
export function fromSnapshot(snapshot, epoch) {
  return { ...snapshot, epoch, frames: new Map(snapshot.frames.map((frame) => [frame.id, frame])), makings: new Map() };
}

/**
 * With what a frame's own events tell of the attempt under way, which a snapshot does not have.
 * @param {State} state
 * @param {Message[]} events  the frame's, in order
 * @returns {State}
 */
export function recall(state, events) {
  const heard = events.reduce(observe, /** @type {import("./pace.js").Makings} */ (new Map()));
  const makings = new Map(state.makings);
  for (const [id, making] of heard) {
    const known = makings.get(id);
    const ended = state.frames.get(id)?.status !== "running";
    if (!ended && (!known || making.step >= known.step)) makings.set(id, making);
  }
  return { ...state, makings };
}

/**
 * The state after one more event. An event that is folded in already changes nothing, so a stream that
 * repeats itself does no harm; types that this page does not know only move the position.
 * @param {State} state
 * @param {Message} message
 * @returns {State}
 */
export function fold(state, message) {
  if (message.seq <= state.position) return state;
  const next = { ...state, position: message.seq, makings: state.frames.has(message.data.frame) ? observe(state.makings, message) : state.makings };
  const { type, data, ts } = message;
  if (type === "JobAccepted") return withFrames(next, queued(data, ts));
  if (type === "DaemonStarted") return { ...next, version: data.version, model: data.model, devices: data.devices };
  if (type === "ModelLoaded") return { ...next, devices: named(state.devices, data.device) };
  if (type === "QueuePaused") return { ...next, paused_by: data.by };
  if (type === "QueueResumed") return { ...next, paused_by: null };
  if (type === "EventRedacted") return withFrames(next, redacted(state.frames.values(), data));
  if (type === "JobReprioritised") return withFrames(next, reprioritised(state.frames.values(), data, ts));
  const frame = state.frames.get(data.frame);
  const change = CHANGES.get(type);
  if (!frame || !change) return next;
  return withFrames(next, [{ ...frame, ...change(frame, data, ts), updated_at: ts }]);
}

/**
 * The devices, one of which has just told its name: until then it goes by what was asked for, `auto`.
 * @param {string[]} devices
 * @param {string} device
 */
const named = (devices, device) => [...new Set([...devices.filter((name) => name !== "auto"), device])];

/**
 * The frames that an accepted job brings, all waiting.
 * @param {Record<string, any>} job
 * @param {string} ts
 * @returns {Frame[]}
 */
function queued({ job, first_frame, seeds, prompt }, ts) {
  const { project, model, negative_prompt, width, height, cfg_scale, priority } = prompt;
  const steps = prompt.steps + (prompt.hires?.steps ?? 0);
  const { sampler = "euler", scheduler = "ddim_uniform" } = prompt; // what all were before there was a choice
  return seeds.map((/** @type {number} */ seed, /** @type {number} */ index) => ({
    id: first_frame + index, job, index, status: "queued",
    project, model, prompt: prompt.prompt, negative_prompt, seed, width, height, cfg_scale,
    sampler, scheduler, priority,
    step: 0, steps, attempt: 1, device_deaths: 0,
    generator: null, device: null, path: null, preview: null, error: null,
    queued_at: ts, created_at: null, updated_at: ts, finished_at: null,
  }));
}

/**
 * What a job has left, after it got another priority.
 * @param {Iterable<Frame>} frames
 * @param {Record<string, any>} data
 * @param {string} ts
 * @returns {Frame[]}
 */
function reprioritised(frames, { job, priority }, ts) {
  const left = [...frames].filter((frame) => frame.job === job && !hasEnded(frame));
  return left.map((frame) => ({ ...frame, priority, updated_at: ts }));
}

/**
 * The job's frames without words that are forgotten: whoever comes later hears of them without.
 * @param {Iterable<Frame>} frames
 * @param {Record<string, any>} data
 * @returns {Frame[]}
 */
function redacted(frames, { job, fields }) {
  /** @type {Partial<Frame>} */
  const gone = {};
  if (fields.includes("prompt.prompt")) gone.prompt = REDACTED;
  if (fields.includes("prompt.negative_prompt")) gone.negative_prompt = REDACTED;
  return [...frames].filter((frame) => frame.job === job).map((frame) => ({ ...frame, ...gone }));
}

/**
 * Whether neither has words that the other has not: what is shown of a frame keeps them until it is made anew.
 * @param {Frame} before
 * @param {Frame} now
 */
export const saysTheSame = (before, now) => before.prompt === now.prompt && before.negative_prompt === now.negative_prompt;

/**
 * What each event changes in its frame.
 * @type {Map<string, (frame: Frame, data: Record<string, any>, ts: string) => Partial<Frame>>}
 */
const CHANGES = new Map(
  /** @type {[string, (frame: Frame, data: Record<string, any>, ts: string) => Partial<Frame>][]} */ ([
    ["FrameCreated", (frame, { path, generator, device }, ts) => ({
      status: runningUnlessStopping(frame),
      preview: path, generator, device, created_at: ts, step: 0,
    })],
    ["PreviewWritten", (_, { step }) => ({ step })],
    ["FinalWritten", (frame, { path }, ts) => ({
      status: "done", path, step: frame.steps, finished_at: ts, error: null,
    })],
    ["PreviewDeleted", () => ({ preview: null })],
    ["FinalDeleted", () => ({ path: null })],
    ["FileMissing", () => ({ path: null })],
    // A Stop that lost the race against the end is in the log, but the end stands.
    ["CancelRequested", (frame) => (hasEnded(frame) ? {} : { status: "stopping" })],
    ["FrameCancelled", (_, { step, path = null }, ts) => ({ status: "cancelled", step, path, finished_at: ts })],
    ["FrameFailed", (_, { message, attempt }, ts) => ({
      status: "failed", error: message, attempt, finished_at: ts,
    })],
    // Of several that died together, none is held to be the cause.
    ["FrameInterrupted", (frame, { why, together = 1 }) => ({
      status: "queued", device_deaths: frame.device_deaths + (why === "device_died" && together === 1 ? 1 : 0),
    })],
    ["FrameResumed", (frame, { step, attempt, device, path }) => ({
      status: runningUnlessStopping(frame), step, attempt, device, preview: path,
    })],
  ]),
);

/**
 * A Stop that came while a device took the frame up still stands.
 * @param {Frame} frame
 * @returns {Status}
 */
function runningUnlessStopping(frame) {
  return frame.status === "stopping" ? "stopping" : "running";
}

/**
 * @param {State} state
 * @param {Frame[]} changed
 * @returns {State}
 */
function withFrames(state, changed) {
  const frames = new Map(state.frames);
  for (const frame of changed) frames.set(frame.id, frame);
  const ended = changed.some(hasEnded) ? [...frames.values()].filter(hasEnded) : [];
  const surplus = ended.sort((a, b) => b.id - a.id).slice(ENDED_KEPT);
  for (const frame of surplus) frames.delete(frame.id);
  return { ...state, frames, older: state.older + surplus.length };
}
