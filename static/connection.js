// @ts-check
/**
 * The page's way to the stream: through the worker that all tabs share, or by a stream of its own where
 * a browser has no such worker (Chrome on Android, some private windows).
 *
 * @typedef {import("./fold.js").State} State
 *
 * @typedef {object} Listener
 * @property {(state: State) => void} state  all that is known now; what was known before is void
 * @property {(message: import("./fold.js").Message) => void} event
 * @property {(stages: import("./stream.js").Stage[]) => void} loading  what keeps devices from sampling now
 * @property {() => void} up  the daemon answers
 * @property {(since: Date) => void} down  it does not
 */
import { fromSnapshot } from "./fold.js";
import { follow } from "./stream.js";

/** @param {Listener} listener */
export function connect(listener) {
  if (typeof SharedWorker === "undefined") followAlone(listener);
  else share(listener);
}

/** @param {Listener} listener */
function followAlone(listener) {
  follow("/api/events", {
    ...listener,
    snapshot: (snapshot, epoch) => listener.state(fromSnapshot(snapshot, epoch)),
  });
}

/** @param {Listener} listener */
function share(listener) {
  const worker = new SharedWorker("/static/shared.js", { type: "module", name: "safelight" });
  let heard = false;
  worker.port.addEventListener("message", ({ data }) => {
    heard = true;
    hear(listener, data);
  });
  worker.port.start();
  // A worker whose module could not be loaded says nothing at all.
  worker.addEventListener("error", () => heard || followAlone(listener), { once: true });
  addEventListener("pagehide", () => worker.port.postMessage("leaving"));
  addEventListener("pageshow", ({ persisted }) => persisted && location.reload());
}

/**
 * @param {Listener} listener
 * @param {import("./shared.js").Told} told
 */
function hear(listener, told) {
  if (told.kind === "state") listener.state(told.state);
  else if (told.kind === "event") listener.event(told.message);
  else if (told.kind === "loading") listener.loading(told.stages);
  else if (told.kind === "up") listener.up();
  else listener.down(told.since);
}
