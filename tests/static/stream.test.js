// @ts-check
/** The life of the one stream: how long a silence is kept to oneself, and how it is opened again. */
import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { follow } from "../../static/stream.js";

/** A browser's EventSource without the network: the test is the daemon. */
class Source extends EventTarget {
  static CLOSED = 2;
  /** @type {Source[]} */
  static opened = [];
  readyState = 0;

  constructor() {
    super();
    Source.opened.push(this);
  }

  /** The daemon has answered. */
  answer() {
    this.readyState = 1;
    this.dispatchEvent(new Event("open"));
  }

  close() {
    this.readyState = 2;
  }

  /** @param {0 | 2} state  0: the browser tries again by itself; 2: it has given up */
  fail(state) {
    this.readyState = state;
    this.dispatchEvent(new Event("error"));
  }
}

/** @returns {string[]} what the page was told, as it grows */
function following() {
  mock.timers.enable({ apis: ["setTimeout", "Date"] });
  Source.opened = [];
  /** @type {any} */ (globalThis).EventSource = Source;
  /** @type {string[]} */
  const told = [];
  follow("/api/events", {
    snapshot: () => told.push("snapshot"), event: () => told.push("event"),
    up: () => told.push("up"), down: () => told.push("down"), loading: () => told.push("loading"),
  });
  return told;
}

test("a daemon that is back within two seconds was never away", () => {
  const told = following();
  Source.opened[0].answer();
  Source.opened[0].fail(0);
  mock.timers.tick(1999);
  Source.opened[0].answer();
  mock.timers.tick(60_000);
  assert.deepEqual(told, ["up", "up"]);
  mock.timers.reset();
});

test("after two seconds the page is told, once, and again when the daemon is back", () => {
  const told = following();
  Source.opened[0].answer();
  for (const wait of [500, 500, 1000]) {
    Source.opened[0].fail(0);
    mock.timers.tick(wait);
  }
  assert.deepEqual(told, ["up", "down"]);
  Source.opened[0].answer();
  assert.deepEqual(told, ["up", "down", "up"]);
  mock.timers.reset();
});

test("where a browser gives up another stream is opened, ever later, and soon again once one was heard", () => {
  following();
  const waits = [];
  for (let waited = 0; Source.opened.length < 7; ) {
    const count = Source.opened.length;
    Source.opened[count - 1].fail(2);
    for (waited = 0; Source.opened.length === count; waited += 500) mock.timers.tick(500);
    waits.push(waited);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 15_000, 15_000]);
  Source.opened[6].answer();
  Source.opened[6].fail(2);
  mock.timers.tick(1000);
  assert.equal(Source.opened.length, 8);
  mock.timers.reset();
});

test("a connection that is silent for longer than the daemon ever is counts as broken", () => {
  const told = following();
  const first = Source.opened[0];
  first.answer();
  for (let quarter = 0; quarter < 20; quarter++) {
    mock.timers.tick(15_000);
    first.dispatchEvent(new Event("alive"));
  }
  mock.timers.tick(39_999);
  assert.equal(Source.opened.length, 1);
  mock.timers.tick(1);
  assert.equal(first.readyState, 2);
  mock.timers.tick(1000);
  assert.equal(Source.opened.length, 2);
  mock.timers.tick(1000);
  assert.deepEqual(told, ["up", "down"]);
  Source.opened[1].answer();
  assert.deepEqual(told, ["up", "down", "up"]);
  mock.timers.tick(39_999);
  assert.equal(Source.opened.length, 2);
  mock.timers.reset();
});

test("a first word that takes longer than that on a slow line is given twice the time, and arrives", () => {
  const told = following();
  Source.opened[0].answer();
  mock.timers.tick(40_000);
  assert.equal(Source.opened[0].readyState, 2);
  mock.timers.tick(1000);
  Source.opened[1].answer();
  mock.timers.tick(79_999);
  assert.equal(Source.opened[1].readyState, 1);
  Source.opened[1].dispatchEvent(Object.assign(new Event("snapshot"), { data: "{}", lastEventId: "a.1" }));
  assert.equal(told.at(-1), "snapshot");
  mock.timers.tick(39_999);
  assert.equal(Source.opened[1].readyState, 1);
  mock.timers.tick(1);
  assert.equal(Source.opened[1].readyState, 2);
  mock.timers.reset();
});

test("a browser that goes on trying by itself is left to it, for it remembers where it was", () => {
  const told = following();
  Source.opened[0].answer();
  for (let second = 0; second < 100; second++) {
    Source.opened[0].fail(0);
    mock.timers.tick(1000);
  }
  assert.equal(Source.opened.length, 1);
  assert.deepEqual(told, ["up", "down"]);
  mock.timers.reset();
});
