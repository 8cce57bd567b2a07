// @ts-check
/**
 * The head of the page, the queue's switches, and what stands for an empty wall: counts, model, device,
 * pause, stopping everything, and how to begin.
 *
 * @typedef {import("./fold.js").State} State
 */
import { askQueue, stopAll } from "./api.js";
import { arrange } from "./arrange.js";
import { dropCommand, pauseText } from "./words.js";
import { byId, onPress, write } from "./write.js";

/** Milliseconds in which stopping everything waits to be confirmed. */
const CONFIRM = 4000;

/**
 * @param {import("./notices.js").Notify} notify
 * @param {(stopped: import("./fold.js").Frame[]) => void} offerBack  those that have not begun, as they were
 * @returns {(state: State, loading: string) => void}  what keeps devices from sampling is said beside them
 */
export function makeHeader(notify, offerBack) {
  const command = byId("command");
  onPress(byId("copy"), async () => {
    await navigator.clipboard.writeText(command.textContent);
    write(byId("copy"), "Copied");
  });
  const showPause = makePause(byId("pause"), byId("paused"), notify);
  /** @type {import("./fold.js").Frame[]} */
  let queue = [];
  const stop = async (/** @type {"all" | "all-but-running"} */ scope) => {
    const stopped = queue;
    const trouble = await stopAll(scope);
    if (trouble) notify(trouble);
    else offerBack(stopped);
  };
  const askForAll = makeConfirmed(byId("stop-all"), () => stop("all"));
  const askForWaiting = makeConfirmed(byId("stop-waiting"), () => stop("all-but-running"));

  return (state, loading) => {
    const wall = arrange(state.frames.values());
    const [developing, waiting] = [wall.developing.length, wall.waiting.length];
    queue = wall.waiting;
    const done = wall.ended.filter((frame) => frame.status === "done").length;
    write(byId("running"), String(developing));
    write(byId("queued"), String(waiting));
    // Ended frames that were left out may be done or not: the number is then a least one.
    write(byId("done"), state.older ? `${done}+` : String(done));
    write(byId("model"), state.model);
    // "auto" is a wish, not a device: which one it came to is known once the child has loaded.
    const named = state.devices.filter((name) => name !== "auto").join(", ");
    write(byId("device"), [named, loading].filter(Boolean).join(" · ") || "–");
    write(command, dropCommand(state.inbox));
    showPause(state.paused_by);
    askForAll(developing + waiting, (count) => `Stop all ${count}`);
    askForWaiting(developing ? waiting : 0, (count) => `Stop the ${count} waiting`);
    document.body.classList.toggle("lit", developing > 0);
    byId("queue").hidden = developing + waiting === 0 && state.paused_by === null;
    byId("empty").hidden = state.frames.size > 0;
    byId("head").title = `Safelight ${state.version}`;
  };
}

/**
 * The queue's switch: one button that pauses or resumes, and beside it who paused.
 * @param {HTMLElement} button
 * @param {HTMLElement} said
 * @param {import("./notices.js").Notify} notify
 * @returns {(pausedBy: string | null) => void}
 */
function makePause(button, said, notify) {
  /** @type {string | null} */
  let pausedBy = null;
  onPress(button, async () => {
    const trouble = await askQueue(pausedBy === null ? "pause" : "resume");
    if (trouble) notify(trouble);
  });
  return (by) => {
    pausedBy = by;
    write(button, by === null ? "Pause" : "Resume");
    write(said, pauseText(by));
    button.title = by === null ? "Begin no new pictures; what develops goes on" : "Nothing new begins while the queue is paused; what develops goes on";
  };
}

/**
 * A button that ends the work of many pictures asks once more, in its own place.
 * @param {HTMLElement} button
 * @param {() => Promise<void>} act
 * @returns {(count: number, name: (count: number) => string) => void}  hidden where there are none
 */
function makeConfirmed(button, act) {
  let sure = false;
  let label = "";
  function paint() {
    write(button, sure ? "Really stop?" : label);
    button.classList.toggle("sure", sure);
  }
  onPress(button, async () => {
    sure = !sure;
    paint();
    if (sure) {
      setTimeout(() => ((sure = false), paint()), CONFIRM);
      return;
    }
    await act();
  });
  return (count, name) => {
    label = name(count);
    button.hidden = count === 0;
    paint();
  };
}
