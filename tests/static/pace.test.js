// @ts-check
/** How fast pictures develop, as the page estimates it. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { moves } from "../../static/arrange.js";
import { fold, fromSnapshot, recall } from "../../static/fold.js";
import { observe, secondsLeft, stepPaces, waits } from "../../static/pace.js";
import { durationText, loadingText, paceTexts } from "../../static/words.js";

const NOON = Date.UTC(2026, 10, 24, 12);

/**
 * @param {string} type
 * @param {number} seconds  after noon
 * @param {Record<string, any>} data
 */
const event = (type, seconds, data) => ({ seq: 1, ts: new Date(NOON + 1000 * seconds).toISOString(), type, cause: null, data: { frame: 1, ...data } });

/** @param {[number, number][]} steps  step and second */
const previews = (steps) => steps.map(([step, seconds]) => event("PreviewWritten", seconds, { step, sigma: 14 - step }));

/** @param {import("../../static/fold.js").Message[]} events */
const made = (events) => events.reduce(observe, /** @type {import("../../static/pace.js").Makings} */ (new Map()));

/** @param {Partial<import("../../static/fold.js").Frame>} fields */
const frame = (fields) => /** @type {import("../../static/fold.js").Frame} */ ({
  id: 1, job: 1, status: "running", step: 0, steps: 20, priority: 0, model: "demo", width: 64, height: 64, sampler: "euler",
  device: "cpu", created_at: null, finished_at: null, ...fields,
});

test("what is left is told by the median step, after three steps", () => {
  const begun = event("FrameCreated", 0, {});
  const two = made([begun, ...previews([[1, 9], [2, 10]])]);
  assert.equal(secondsLeft(frame({ step: 2 }), two.get(1)), null);
  const four = made([begun, ...previews([[1, 9], [2, 10], [3, 11], [4, 21]])]);
  assert.equal(secondsLeft(frame({ step: 4 }), four.get(1)), 16); // the first step's nine seconds and the slow fourth do not count
});

test("steps that were left out share the time between those that were heard of", () => {
  const making = made(previews([[1, 0], [5, 2], [9, 4]])).get(1);
  assert.deepEqual(making?.times, [500, 500]);
  assert.equal(secondsLeft(frame({ step: 9 }), making), 5.5);
});

test("a new attempt forgets the old one's pace, an end forgets it all", () => {
  const heard = previews([[1, 0], [2, 1], [3, 2]]);
  assert.deepEqual(made([...heard, event("FrameResumed", 3, { step: 2 })]).get(1)?.times, []);
  for (const type of ["FinalWritten", "FrameCancelled", "FrameFailed", "FrameInterrupted"]) assert.equal(made([...heard, event(type, 3, {})]).size, 0);
});

test("a repeated step changes nothing", () => {
  const makings = made(previews([[1, 0], [2, 1]]));
  assert.equal(observe(makings, previews([[2, 5]])[0]), makings);
});

test("a frame's own events fill in what a snapshot does not have, and never more than is so", () => {
  const nothing = { position: 9, version: "1", model: "demo", inbox: "", devices: ["cpu"], paused_by: null, older: 0 };
  const state = fromSnapshot({ ...nothing, frames: [frame({ step: 3 }), frame({ id: 2, status: "done" })] }, "e1");
  const events = previews([[1, 0], [2, 1], [3, 2]]);
  const ended = events.map((one) => ({ ...one, data: { ...one.data, frame: 2 } }));
  const known = recall(recall(state, events), ended);
  assert.equal(known.makings.get(1)?.sigma, 11);
  assert.equal(known.makings.has(2), false);
  const on = fold(known, { ...previews([[4, 3]])[0], seq: 10 });
  assert.equal(recall(on, events).makings.get(1)?.step, 4);
});

test("the queue's wait is made of what runs and what stands before", () => {
  const done = frame({ status: "done", created_at: "2026-11-24T12:00:00Z", finished_at: "2026-11-24T12:00:40Z" });
  const paces = stepPaces([done]); // two seconds a step
  const waiting = [frame({ id: 2, status: "queued" }), frame({ id: 3, status: "queued", width: 512 }), frame({ id: 4, status: "queued" })];
  const running = [frame({ step: 15 })];
  assert.deepEqual([...waits(running, waiting, new Map(), paces, 1)], [[2, 10], [3, 50]]); // nothing is known of 512 pixels
  assert.deepEqual([...waits(running, [waiting[0], waiting[2]], new Map(), paces, 2)], [[2, 0], [4, 10]]);
  assert.deepEqual([...waits(running, waiting, new Map(), new Map(), 1)], []);
});

test("a job is moved past exactly where the order lets it", () => {
  const queue = [frame({ id: 5, job: 3, priority: 2 }), frame({ id: 1, job: 1 }), frame({ id: 2, job: 1 }), frame({ id: 3, job: 2 })];
  assert.deepEqual(moves(queue, 3), { sooner: null, later: 0 });
  assert.deepEqual(moves(queue, 1), { sooner: 2, later: -1 }); // job 1 came before job 3, so the same priority is enough
  assert.deepEqual(moves(queue, 2), { sooner: 1, later: null });
  assert.equal(moves([frame({ job: 1, priority: 1000 }), frame({ job: 2 })], 2).sooner, null);
});

test("times are told as coarsely as they are uncertain", () => {
  assert.deepEqual([0.2, 12.4, 59.6, 90, 3600, 3900].map(durationText), ["1 s", "12 s", "1 min", "2 min", "1 h", "1 h 5 min"]);
});

test("what keeps a device from sampling is told in its place, as far as it is known", () => {
  const loading = loadingText([{ device: "cpu", what: "loading demo", done: 0.4262 }, { device: "auto", what: "starting", done: null }]);
  assert.equal(loading, "loading demo 43 %, starting");
  assert.deepEqual(paceTexts(frame({ step: 0 }), undefined, loading), [loading, "on cpu"]);
  assert.equal(loadingText([]), "");
});

test("a running frame tells noise, time and device, one that decodes says so", () => {
  const making = made(previews([[1, 0], [2, 1], [3, 2]])).get(1);
  assert.deepEqual(paceTexts(frame({ step: 3 }), making), ["σ 11.0", "about 17 s left", "on cpu"]);
  assert.deepEqual(paceTexts(frame({ step: 20 }), undefined), ["decoding the picture", "on cpu"]);
});
