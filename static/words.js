// @ts-check
/**
 * How the page says things: frames, notices and commands in plain words.  PURE
 *
 * @typedef {import("./fold.js").Frame} Frame
 */

import { secondsLeft } from "./pace.js";

/** @param {Frame} frame */
export const fileName = (frame) => frame.path?.split("/").at(-1) ?? `frame_${frame.id}.png`;

/**
 * Where a frame is, in one line.
 * @param {Frame} frame
 * @returns {string}
 */
export function stepText(frame) {
  const { status, step, steps, created_at } = frame;
  if (status === "done" && frame.path === null) return `${steps} steps, and the picture is gone`;
  if (status === "done") return `${steps} steps${tookText(frame)}`;
  if (status === "cancelled") return step ? `Stopped at step ${step}` : "Stopped before its first step";
  if (status === "failed") return step ? `Failed after step ${step}` : "Failed before its first step";
  if (created_at === null) return `${steps} steps`;
  if (status === "queued") return `waits to go on, was at step ${step} of ${steps}`;
  return `step ${step} of ${steps}`;
}

/** @param {Frame} frame */
function tookText({ created_at, finished_at }) {
  if (created_at === null || finished_at === null) return "";
  const seconds = (Date.parse(finished_at) - Date.parse(created_at)) / 1000;
  if (seconds < 60) return ` in ${seconds.toFixed(1)} s`;
  return ` in ${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

/**
 * What a person needs to find or make a picture again.
 * @param {Frame} frame
 * @returns {string[]}
 */
export function facts({ id, job, width, height, seed, attempt, priority }) {
  const words = [`job ${job} · frame ${id}`, `${width} × ${height}`, `seed ${seed}`];
  if (priority) words.push(`priority ${priority}`);
  return attempt > 1 ? [...words, `attempt ${attempt}`] : words;
}

/**
 * How a picture gets on: the noise that is left, the time that is left, and where it is made.
 * @param {Frame} frame
 * @param {import("./pace.js").Making | undefined} making
 * @param {string} loading  what keeps its device from sampling
 * @returns {string[]}
 */
export function paceTexts(frame, making, loading = "") {
  const left = secondsLeft(frame, making);
  const words = making?.sigma == null ? [] : [`σ ${sigmaText(making.sigma)}`];
  if (frame.status === "running" && frame.step === frame.steps) words.push("decoding the picture");
  else if (frame.status === "running" && loading !== "") words.push(loading);
  else if (frame.status === "running" && left !== null) words.push(`about ${durationText(left)} left`);
  if (frame.device !== null) words.push(`on ${frame.device}`);
  return words;
}

/**
 * What keeps devices from sampling, and how far that is.
 * @param {import("./stream.js").Stage[]} stages
 */
export const loadingText = (stages) =>
  stages.map(({ what, done }) => (done === null ? what : `${what} ${Math.round(done * 100)} %`)).join(", ");

/** @param {number} sigma */
export const sigmaText = (sigma) => sigma.toFixed(sigma < 10 ? 2 : 1);

/**
 * A time as people say it: rounded as coarsely as it is uncertain.
 * @param {number} seconds
 */
export function durationText(seconds) {
  if (seconds < 59.5) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
}

/** @param {number | undefined} seconds */
export const waitText = (seconds) => (seconds === undefined ? "" : seconds < 1 ? "begins next" : `begins in about ${durationText(seconds)}`);

/** @param {number} bytes */
export function bytesText(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/**
 * What an event says to a person that no card shows; null for all others. A refused form shows its
 * faults by itself, so only files are told of.
 * @param {import("./fold.js").Message} message
 * @returns {string | null}
 */
export function noticeText({ type, data }) {
  if (type === "JobRejected" && data.source.kind === "file") {
    return `${data.source.name} was refused. ${data.faults.map(faultText).join(" ")}`;
  }
  if (type === "JobAccepted" && data.source.not_carried?.length) {
    return `Job ${data.job} was made from ${data.source.name}. Not carried over: ${data.source.not_carried.join("; ")}`;
  }
  if (type === "JobDuplicate" && data.source.kind === "file") {
    return `${data.source.name} was dropped before, as job ${data.job}; nothing was queued.`;
  }
  if (type === "ModelFailed") return `The model ${data.model} could not be loaded on ${data.device}: ${data.message}`;
  return null;
}

/** @param {import("./api.js").Fault} fault */
function faultText({ path, line, column, message, suggestion }) {
  return `Line ${line}, column ${column} (${path}): ${message}.${suggestion ? ` ${suggestion}` : ""}`;
}

/**
 * The command that drops a first prompt, safe to paste whatever the folder is called.
 * @param {string} inbox
 */
export function dropCommand(inbox) {
  const target = `${inbox.replace(/\/$/, "")}/fox.json`;
  const quoted = /^[\w@%+=:,./-]+$/.test(target) ? target : `'${target.replaceAll("'", `'\\''`)}'`;
  return `echo '{"prompt": "a red fox"}' > ${quoted}`;
}

/** @param {string | null} pausedBy */
export const pauseText = (pausedBy) => (pausedBy === null ? "" : `Paused by ${pausedBy}`);

/** @param {Date} moment */
export const clock = (moment) => moment.toTimeString().slice(0, 8);

/**
 * @param {{ name: string, why: string }} file
 * @returns {string}
 */
export const waitingText = ({ name, why }) => `${name} waits in the inbox – ${why}`;

/**
 * @param {number} count
 * @returns {string}
 */
export const ignoredText = (count) =>
  `${count} ${count === 1 ? "entry" : "entries"} of the inbox ${count === 1 ? "is" : "are"} ignored (not a prompt file's name)`;

/**
 * A moment of the log, with its day unless that is today.
 * @param {string} ts
 * @param {Date} [now]
 */
export function momentText(ts, now = new Date()) {
  const moment = new Date(ts);
  const day = moment.toDateString() === now.toDateString() ? "" : `${dayText(moment)} `;
  return `${day}${clock(moment)}`;
}

/** @param {Date} moment */
export const dayText = (moment) => moment.toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" });
