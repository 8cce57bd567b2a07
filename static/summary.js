// @ts-check
/**
 * Each event in a few words, for the log.  PURE
 *
 * @typedef {import("./fold.js").Message} Message
 */
import { bytesText, sigmaText } from "./words.js";

/** @type {ReadonlyMap<string, (data: Record<string, any>) => string>} */
const SUMMARIES = new Map(
  /** @type {[string, (data: Record<string, any>) => string][]} */ ([
    ["DaemonStarted", ({ version, host }) => `Safelight ${version} on ${host}`],
    ["DaemonStopped", ({ clean }) => (clean === false ? "not cleanly" : "cleanly")],
    ["JobAccepted", ({ prompt, seeds, source }) => `${prompt.prompt} · ${seeds.length === 1 ? "one picture" : `${seeds.length} pictures`} · from ${source.name}`],
    ["JobRejected", ({ source, faults }) => `${source.name}: ${faults[0]?.message ?? "refused"}`],
    ["JobDuplicate", ({ source }) => `${source.name} was there before`],
    ["JobReprioritised", ({ priority, by }) => `priority ${priority}, by ${by}`],
    ["ModelLoaded", ({ model, device, seconds }) => `${model} on ${device}${seconds === undefined ? "" : ` in ${seconds.toFixed(1)} s`}`],
    ["ModelFailed", ({ model, device, message }) => `${model} on ${device}: ${message}`],
    ["FrameCreated", ({ seed, device }) => `seed ${seed}, on ${device}`],
    ["PreviewWritten", ({ step, steps, sigma, bytes, skipped }) => `step ${step} of ${steps} · σ ${sigmaText(sigma)} · ${bytesText(bytes)}${skipped ? ` · ${skipped} skipped` : ""}`],
    ["FinalWritten", ({ bytes, seconds, path }) => `${path} · ${bytesText(bytes)} · ${seconds.toFixed(1)} s`],
    ["PreviewDeleted", ({ path, why }) => `${path}: ${why}`],
    ["FinalDeleted", ({ path, why }) => `${path}: ${why}`],
    ["FileMissing", ({ path }) => path],
    ["EventRedacted", ({ event, fields }) => `event ${event}: ${fields.join(", ")} forgotten`],
    ["CancelRequested", ({ by, step }) => `by ${by}, at step ${step}`],
    ["FrameCancelled", ({ step }) => `at step ${step}`],
    ["FrameFailed", ({ kind, message }) => `${kind}: ${message}`],
    ["FrameInterrupted", ({ step, why, message }) => `at step ${step}, ${why}: ${message}`],
    ["FrameResumed", ({ step, attempt, device }) => `from step ${step}, attempt ${attempt}, on ${device}`],
    ["QueuePaused", ({ by }) => `by ${by}`],
    ["QueueResumed", ({ by }) => `by ${by}`],
  ]),
);

/** The types that there are, for a filter. */
export const TYPES = [...SUMMARIES.keys()].sort();

/**
 * A type that this page does not know has its data said as they are.
 * @param {Message} message
 */
export function summary({ type, data }) {
  const summarise = SUMMARIES.get(type);
  return summarise ? summarise(data) : JSON.stringify(data);
}
