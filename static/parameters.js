// @ts-check
/**
 * All that a picture was made with, as a list of terms: what was asked for, and what was really used.
 *
 * @typedef {import("./api.js").Detail} Detail
 */
import { bytesText, momentText } from "./words.js";
import { make } from "./write.js";

/**
 * @param {Detail} detail
 * @returns {HTMLElement[]}
 */
export const parameters = (detail) =>
  terms(detail).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value)));

/**
 * Names and values; what does not apply is left out.  PURE
 * @param {Detail} detail
 * @returns {[string, string][]}
 */
export function terms({ frame, prompt, recipe, source, events }) {
  const final = events.find(({ type }) => type === "FinalWritten")?.data;
  /** @type {[string, unknown][]} */
  const all = [
    ["model", frame.model],
    ["size", final ? `${final.width} × ${final.height}` : `${frame.width} × ${frame.height}`],
    ["second pass", prompt.hires && `${prompt.hires.scale} × ${frame.width} × ${frame.height}, ${prompt.hires.steps} steps, strength ${prompt.hires.strength}`],
    ["refiner", prompt.refiner && `${prompt.refiner.model}, from ${prompt.refiner.at * 100} % of the steps on`],
    ["steps", frame.steps],
    ["cfg scale", frame.cfg_scale],
    ["sampler", frame.sampler],
    ["scheduler", frame.scheduler],
    ["seed", frame.seed],
    ["LoRAs", (prompt.loras ?? []).map((/** @type {any} */ { name, weight }) => `${name} (${weight})`).join(", ")],
    ["image", prompt.image],
    ["strength", prompt.image ? prompt.strength : null],
    ["project", frame.project],
    ["priority", frame.priority],
    ["job", `${frame.job}, picture ${frame.index + 1} of ${prompt.count ?? 1}`],
    ["from", source.name],
    ["device", frame.device],
    ["attempt", frame.attempt > 1 ? frame.attempt : null],
    ["queued", momentText(frame.queued_at)],
    ["begun", frame.created_at && momentText(frame.created_at)],
    ["ended", frame.finished_at && momentText(frame.finished_at)],
    ["made by", recipe?.scheduler],
    ["precision", recipe?.dtype],
    ["file", final?.path],
    ["file size", final && bytesText(final.bytes)],
    ["SHA-256", final?.sha256],
    ["error", frame.error],
  ];
  return all.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [name, String(value)]);
}
