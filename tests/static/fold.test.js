// @ts-check
/** The page's fold, held to the same histories as Python's, and to what only a page meets. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { arrange } from "../../static/arrange.js";
import { fold, fromSnapshot } from "../../static/fold.js";
import { newestPicture } from "../../static/pictures.js";
import { dropCommand, noticeText, stepText } from "../../static/words.js";

const HISTORIES = new URL("../histories/", import.meta.url);
const INBOX = "/home/ann/safelight/inbox";
const NOTHING = { position: 0, version: "0.1.0", model: "demo", inbox: INBOX, devices: ["cpu"], paused_by: null, frames: [], older: 0 };
const empty = () => fromSnapshot(NOTHING, "e1");

/** @param {string} name */
function history(name) {
  const lines = readFileSync(new URL(name, HISTORIES), "utf8").trim().split("\n").map((line) => JSON.parse(line));
  return { events: lines.slice(0, -1), ...lines.at(-1) };
}

/** @param {import("../../static/fold.js").State} state */
const framesById = (state) => [...state.frames.values()].sort((a, b) => a.id - b.id);

const names = readdirSync(HISTORIES).filter((name) => name.endsWith(".jsonl"));

test("there are histories", () => assert.ok(names.length >= 7));

for (const name of names) {
  const { events, expect, paused_by = null } = history(name);

  test(`${name} folds to the frames it expects`, () => {
    const state = events.reduce(fold, empty());
    assert.deepEqual(framesById(state), expect);
    assert.equal(state.paused_by, paused_by);
  });

  test(`${name}: every event twice is every event once`, () => {
    const twice = events.flatMap((/** @type {import("../../static/fold.js").Message} */ event) => [event, event]);
    assert.deepEqual(framesById(twice.reduce(fold, empty())), expect);
  });

  test(`${name}: a snapshot at any position and the tail after it tell the same`, () => {
    for (let cut = 0; cut <= events.length; cut += 1) {
      const before = events.slice(0, cut).reduce(fold, empty());
      const snapshot = JSON.parse(JSON.stringify({ ...NOTHING, position: cut, frames: framesById(before) }));
      // The whole log again: what the snapshot holds must not be folded in twice.
      assert.deepEqual(framesById(events.reduce(fold, fromSnapshot(snapshot, "e1"))), expect);
    }
  });
}

const frozen = history("one_frame_to_the_end.jsonl").events.map((/** @type {import("../../static/fold.js").Message} */ event) => Object.freeze(event));
const at = (/** @type {number} */ position) => frozen.slice(0, position).reduce(fold, empty());

test("a page that knew forgotten words forgets them too", () => {
  const { events } = history("words_forgotten.jsonl");
  const known = at(frozen.length);
  assert.equal(known.frames.get(1)?.prompt, "a red circle on a blue background");
  const told = events.reduce(fold, known);
  assert.equal(told.frames.get(1)?.prompt, "[redacted]");
  assert.equal(told.frames.get(1)?.updated_at, known.frames.get(1)?.updated_at);
});

test("a state is never changed in place", () => {
  const before = at(4);
  const copy = structuredClone(before);
  frozen.reduce(fold, before);
  assert.deepEqual(before, copy);
});

test("a frame that an event is not about stays the same object", () => {
  const { events } = history("job_of_three.jsonl");
  const before = events.slice(0, 11).reduce(fold, empty());
  const after = fold(before, events[11]);
  assert.equal(after.frames.get(1), before.frames.get(1));
  assert.notEqual(after.frames.get(2), before.frames.get(2));
});

test("unknown types and unknown frames only move the position", () => {
  const before = at(5);
  for (const type of ["NeverHeardOf", "constructor", "toString", "PreviewWritten"]) {
    const message = { seq: 6, ts: "2026-11-24T07:01:00.000001Z", type, cause: null, data: { frame: 99, step: 9 } };
    const after = fold(before, message);
    assert.deepEqual(after, { ...before, position: 6 });
  }
});

test("a Stop that an old log has after the end changes nothing", () => {
  const before = at(7);
  const data = { frame: 1, job: 1, by: "127.0.0.1", step: 3 };
  const late = { seq: 8, ts: "2026-11-24T07:01:00.000001Z", type: "CancelRequested", cause: null, data };
  assert.equal(fold(before, late).frames.get(1)?.status, "done");
});

test("a picture that is gone is said to be", () => {
  const { events } = history("pruned_and_missing.jsonl");
  for (const frame of framesById(events.reduce(fold, empty()))) {
    assert.equal(stepText(frame), "3 steps, and the picture is gone");
    assert.equal(newestPicture(frame, "e1"), null);
  }
});

test("a daemon that starts again says what it is now", () => {
  const data = { version: "0.2.0", host: "h", pid: 2, devices: ["cuda:0"], model: "sdxl" };
  const state = fold(at(5), { seq: 6, ts: "2026-11-24T07:01:00.000001Z", type: "DaemonStarted", cause: null, data });
  assert.deepEqual([state.version, state.devices, state.model], ["0.2.0", ["cuda:0"], "sdxl"]);
});

test("a device that has loaded a model is known by its name, once", () => {
  const message = { ts: "2026-11-24T07:01:00.000001Z", type: "ModelLoaded", cause: null, data: { device: "cpu", model: "demo" } };
  const asked = { ...at(5), devices: ["auto"] };
  const told = fold(asked, { ...message, seq: 6 });
  assert.deepEqual(told.devices, ["cpu"]);
  assert.deepEqual(fold(told, { ...message, seq: 7 }).devices, ["cpu"]);
});

test("of the ended frames the newest 200 are kept and the others counted", () => {
  const seeds = Array.from({ length: 205 }, (_, index) => index);
  const accepted = { ...frozen[1], seq: 1, data: { ...frozen[1].data, seeds } };
  const ends = seeds.slice(0, 203).map((index) => ({
    seq: index + 2, ts: new Date(Date.UTC(2026, 10, 24, 8) + 1000 * index).toISOString(),
    type: "FrameCancelled", cause: null, data: { frame: index + 1, job: 1, step: 0 },
  }));
  const state = ends.reduce(fold, fold(empty(), accepted));
  assert.equal(state.older, 3);
  assert.equal(state.frames.size, 202);
  assert.ok(!state.frames.has(3) && state.frames.has(4));
});

test("the wall: developing by number, waiting by priority, ended newest first", () => {
  const base = { ...framesById(at(2))[0] };
  const frame = (/** @type {object} */ more) => ({ ...base, ...more });
  const wall = arrange([
    frame({ id: 1, status: "done", finished_at: "2026-11-24T07:00:01.5Z" }),
    frame({ id: 2, status: "failed", finished_at: "2026-11-24T07:00:09.5Z" }),
    frame({ id: 3 }),
    frame({ id: 4, priority: 9 }),
    frame({ id: 5, status: "stopping" }),
    frame({ id: 7, status: "stopping", created_at: "2026-11-24T07:00:02.5Z" }),
    frame({ id: 6, status: "running", created_at: "2026-11-24T07:00:03.5Z" }),
  ]);
  const ids = Object.fromEntries(Object.entries(wall).map(([place, frames]) => [place, frames.map(({ id }) => id)]));
  assert.deepEqual(ids, { developing: [6, 7], waiting: [4, 3, 5], ended: [2, 1] });
});

test("the step is told as a person would", () => {
  const frame = framesById(at(5))[0];
  assert.equal(stepText(frame), "step 2 of 3");
  assert.equal(stepText({ ...frame, status: "cancelled" }), "Stopped at step 2");
  assert.equal(stepText({ ...frame, status: "cancelled", step: 0 }), "Stopped before its first step");
  assert.equal(stepText(framesById(at(7))[0]), "3 steps in 4.0 s");
});

test("the command to drop a prompt can be pasted whatever the inbox is called", () => {
  const echo = `echo '{"prompt": "a red fox"}' >`;
  assert.equal(dropCommand(INBOX), `${echo} ${INBOX}/fox.json`);
  assert.equal(dropCommand("/tmp/Ann's room/inbox/"), `${echo} '/tmp/Ann'\\''s room/inbox/fox.json'`);
});

test("a refused file is told of, a refused form tells it itself", () => {
  const { events } = history("job_of_three.jsonl");
  const told = "broken.json was refused. Line 1, column 30 ($.stepz): There is no key stepz. Did you mean steps?";
  assert.equal(noticeText(events[1]), told);
  const byForm = { ...events[1], data: { ...events[1].data, source: { kind: "http", name: "127.0.0.1" } } };
  assert.equal(noticeText(byForm), null);
  assert.equal(noticeText(events[2]), null);
  const source = { kind: "file", name: "fox.png", not_carried: ["Clip skip: 2"] };
  const again = { ...events[2], data: { ...events[2].data, source } };
  assert.equal(noticeText(again), "Job 1 was made from fox.png. Not carried over: Clip skip: 2");
});
