// @ts-check
/**
 * The worker that all tabs share: it holds the one stream, and the state for tabs that come later.
 *
 * Browsers open at most six connections to one address; six tabs with a stream each would leave none for
 * pictures, or for the Stop button. A tab says "leaving" when it goes, because a port does not tell.
 *
 * @typedef {import("./fold.js").State} State
 *
 * @typedef {{ kind: "state", state: State } | { kind: "event", message: import("./fold.js").Message }
 *   | { kind: "loading", stages: import("./stream.js").Stage[] } | { kind: "up" } | { kind: "down", since: Date }} Told
 *   what a tab gets
 */
import { fold, fromSnapshot } from "./fold.js";
import { follow } from "./stream.js";

/** @type {Set<MessagePort>} */
const tabs = new Set();
/** @type {State | null} */
let state = null;
/** @type {import("./stream.js").Stage[]} */
let stages = [];
/** @type {Told | null} */
let last = null;

/** @param {Told} told */
function tell(told) {
  for (const tab of tabs) tab.postMessage(told);
}

/** @param {Told} told  whether the daemon answers */
function turn(told) {
  last = told;
  tell(told);
}

/** @param {MessagePort} tab */
function welcome(tab) {
  tabs.add(tab);
  tab.addEventListener("message", () => tabs.delete(tab));
  tab.start();
  if (state) tab.postMessage({ kind: "state", state });
  tab.postMessage({ kind: "loading", stages });
  if (last) tab.postMessage(last);
}

const scope = /** @type {any} */ (globalThis); // TypeScript's library has either pages or workers
scope.addEventListener("connect", (/** @type {MessageEvent} */ { ports }) => welcome(ports[0]));

follow("/api/events", {
  snapshot: (snapshot, epoch) => tell({ kind: "state", state: (state = fromSnapshot(snapshot, epoch)) }),
  event: (message) => {
    if (state) state = fold(state, message);
    tell({ kind: "event", message });
  },
  loading: (now) => tell({ kind: "loading", stages: (stages = now) }),
  up: () => turn({ kind: "up" }),
  down: (since) => turn({ kind: "down", since }),
});
