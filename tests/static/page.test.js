// @ts-check
/** The page's other pure parts: addresses, announcements, pages, the grid's window, the log's words. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { makeAnnouncer, tidings } from "../../static/announce.js";
import { passes } from "../../static/filter.js";
import { runs } from "../../static/anew.js";
import { rowsNear } from "../../static/grid.js";
import { makePages } from "../../static/pages.js";
import { terms } from "../../static/parameters.js";
import { placeAt } from "../../static/router.js";
import { summary } from "../../static/summary.js";

test("an address leads to a view; whatever is not understood is the wall", () => {
  const place = (/** @type {string} */ hash) => {
    const { view, frames, query } = placeAt(hash);
    return [view, frames, String(query)];
  };
  assert.deepEqual(place("#/frame/42"), ["frame", [42], ""]);
  assert.deepEqual(place("#/compare/3,4"), ["compare", [3, 4], ""]);
  assert.deepEqual(place("#/history?text=a+fox"), ["history", [], "text=a+fox"]);
  for (const wrong of ["", "#/", "#/frame/x", "#/frame/1,2", "#/constructor", "#frame"]) assert.equal(place(wrong)[0], "wall");
});

test("only begin, quarters, end and failure are news", () => {
  const frame = { id: 3, prompt: "a fox", step: 0, steps: 8 };
  const at = (/** @type {number} */ step) => /** @type {any} */ ({ position: 1, frames: new Map([[3, { ...frame, step }]]) });
  const told = (/** @type {string} */ type, /** @type {number} */ before, data = {}) =>
    tidings(at(before), { seq: 2, ts: "", type, cause: null, data: { frame: 3, ...data } })?.text ?? null;
  assert.equal(told("FrameCreated", 0), "a fox, frame 3: begun.");
  const steps = [1, 2, 3, 4, 5, 6, 7, 8].map((step) => told("PreviewWritten", step - 1, { step }));
  assert.deepEqual(steps.map((text) => text?.split(": ")[1] ?? null), [null, "a quarter done.", null, "half done.", null, "three quarters done.", null, null]);
  assert.equal(told("FinalWritten", 8), "a fox, frame 3: done.");
  assert.equal(told("FrameFailed", 4, { message: "out of memory" }), "a fox, frame 3: failed. out of memory");
  assert.equal(told("FrameCancelled", 4), null);
});

test("the live region speaks at most every five seconds, and says of each frame only the newest", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  /** @type {string[]} */
  const said = [];
  const region = /** @type {any} */ ({ get textContent() { return said.at(-1) ?? ""; }, set textContent(text) { said.push(text); } });
  const announce = makeAnnouncer(region);
  announce({ frame: 1, text: "one begun." });
  announce({ frame: 1, text: "one a quarter." });
  announce({ frame: 2, text: "two begun." });
  announce({ frame: 1, text: "one half." });
  mock.timers.tick(4999);
  assert.deepEqual(said, ["one begun."]);
  mock.timers.tick(1);
  assert.deepEqual(said, ["one begun.", "two begun. one half."]);
  mock.timers.tick(60_000);
  announce({ frame: 1, text: "one done." });
  assert.equal(said.at(-1), "one done.");
  mock.timers.reset();
});

test("of a long list the pages in sight come first, two at a time, and each once", async () => {
  /** @type {number[]} */
  const asked = [];
  /** @type {((rows: number[]) => void)[]} */
  const answer = [];
  const pages = makePages(10, (page) => {
    asked.push(page);
    return new Promise((resolve) => answer.push(resolve));
  }, () => {});
  pages.want(0, 35);
  assert.deepEqual(asked, [0, 1]);
  pages.want(900, 905); // the scroll bar was pulled down meanwhile
  answer[0]([0, 1, 2]);
  await new Promise(setImmediate);
  assert.deepEqual(asked, [0, 1, 90]);
  assert.deepEqual([pages.row(2), pages.row(25)], [2, undefined]);
});

test("a page that could not be had is asked for again when it is looked at again", async () => {
  let asked = 0;
  const pages = makePages(10, async () => (asked += 1, null), () => {});
  pages.want(0, 5);
  await new Promise(setImmediate);
  assert.equal(asked, 1);
  pages.want(0, 5);
  await new Promise(setImmediate);
  assert.equal(asked, 2);
});

test("of ten thousand frames only the rows near the window exist", () => {
  assert.deepEqual(rowsNear({ top: 0, height: 900, row: 250, rows: 1429 }), [0, 7]);
  assert.deepEqual(rowsNear({ top: 250_000, height: 900, row: 250, rows: 1429 }), [997, 1007]);
  assert.deepEqual(rowsNear({ top: -500, height: 100, row: 250, rows: 10 }), [0, 2]);
  assert.deepEqual(rowsNear({ top: 9_999_999, height: 900, row: 250, rows: 10 }), [10, 10]);
});

test("the log's filters are its own words", () => {
  const message = { seq: 1, ts: "", type: "FinalWritten", cause: null, data: { frame: 7, job: 2 } };
  assert.ok(passes(message, new URLSearchParams("type=FinalWritten&frame=7")));
  assert.ok(!passes(message, new URLSearchParams("frame=8")));
  assert.ok(!passes(message, new URLSearchParams("job=1")));
});

test("words are looked for in what an event says, not in what its fields are called", () => {
  const data = { frame: 7, path: "frames/a_b.png", prompt: { prompt: '100% snow ÜBER a "fox"', steps: 24 } };
  const found = (/** @type {string} */ text) => passes({ seq: 1, ts: "", type: "JobAccepted", cause: null, data }, new URLSearchParams({ text }));
  for (const text of ["FOX", "snow fox", "übEr", "100%", '"fox"', "a_b", "jobaccepted", "24"]) assert.ok(found(text), text);
  for (const text of ["cat", "snow cat", "steps", "path", "a.b", "(", "\\"]) assert.ok(!found(text), text);
});

test("stopped frames are queued anew in as few jobs as their seeds allow", () => {
  const frame = (/** @type {number} */ id, /** @type {number} */ job, /** @type {number} */ seed) => /** @type {any} */ ({ id, job, seed });
  const told = (/** @type {any[]} */ frames) => runs(frames).map(({ first, count }) => [first.id, count]);
  assert.deepEqual(told([]), []);
  assert.deepEqual(told([frame(3, 1, 9), frame(1, 1, 7), frame(2, 1, 8)]), [[1, 3]]);
  assert.deepEqual(told([frame(1, 1, 7), frame(3, 1, 9), frame(4, 2, 10)]), [[1, 1], [3, 1], [4, 1]]);
});

test("an event of a type that this page does not know is still told", () => {
  assert.equal(summary({ seq: 1, ts: "", type: "constructor", cause: null, data: { a: 1 } }), '{"a":1}');
});

test("a picture that was gone over once more is told with both of its sizes", () => {
  const frame = { width: 128, height: 96, steps: 34, queued_at: "2026-01-01T00:00:00Z" };
  const hires = { scale: 2, steps: 14, strength: 0.5 };
  const final = { type: "FinalWritten", data: { width: 256, height: 192, bytes: 1, path: "a.png", sha256: "0" } };
  const known = new Map(terms(/** @type {any} */ ({ frame, prompt: { hires }, recipe: null, source: {}, events: [final] })));
  assert.equal(known.get("size"), "256 × 192");
  assert.equal(known.get("second pass"), "2 × 128 × 96, 14 steps, strength 0.5");
});

test("parameters that do not apply are left out", () => {
  const frame = { id: 1, job: 1, index: 0, model: "demo", width: 64, height: 64, steps: 3, attempt: 1, error: null, queued_at: "2026-11-24T07:00:00Z", created_at: null, finished_at: null };
  const names = terms(/** @type {any} */ ({ frame, prompt: { count: 2 }, recipe: null, source: { name: "fox.json" }, events: [] })).map(([name]) => name);
  assert.ok(names.includes("from") && !names.includes("error") && !names.includes("attempt") && !names.includes("strength"));
});
