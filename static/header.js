// @ts-check
/**
 * The head of the page and what stands for an empty wall: counts, model, device, and how to begin.
 */
import { askQueue } from "./api.js";
import { arrange } from "./arrange.js";
import { dropCommand, pauseText } from "./words.js";
import { write } from "./write.js";

/**
 * @param {Document} page
 * @returns {(state: import("./fold.js").State) => void}
 */
export function makeHeader(page) {
  /** @param {string} id */
  const byId = (id) => /** @type {HTMLElement} */ (page.getElementById(id));
  const command = byId("command");
  byId("copy").addEventListener("click", async ({ currentTarget }) => {
    await navigator.clipboard.writeText(command.textContent ?? "");
    if (currentTarget instanceof HTMLElement) currentTarget.textContent = "Copied";
  });

  const showPause = makePause(byId("pause"), byId("paused"));

  return (state) => {
    const wall = arrange(state.frames.values());
    const done = wall.ended.filter((frame) => frame.status === "done").length;
    write(byId("running"), String(wall.developing.length));
    write(byId("queued"), String(wall.waiting.length));
    // Ended frames that were left out may be done or not: the number is then a least one.
    write(byId("done"), state.older ? `${done}+` : String(done));
    write(byId("model"), state.model);
    // "auto" is a wish, not a device: which one it came to is known once the child has loaded.
    write(byId("device"), state.devices.filter((name) => name !== "auto").join(", ") || "–");
    write(command, dropCommand(state.inbox));
    write(byId("older"), state.older ? `${state.older} older pictures are in the history and not shown here.` : "");
    showPause(state.paused_by);
    page.body.classList.toggle("lit", wall.developing.length > 0);
    byId("empty").hidden = state.frames.size > 0;
    byId("head").title = `Safelight ${state.version}`;
  };
}

/**
 * The queue's switch: one button that pauses or resumes, and beside it who paused or what went wrong.
 * @param {HTMLElement} button
 * @param {HTMLElement} said
 * @returns {(pausedBy: string | null) => void}
 */
function makePause(button, said) {
  /** @type {string | null} */
  let pausedBy = null;
  let trouble = "";

  function paint() {
    write(button, pausedBy === null ? "Pause" : "Resume");
    write(said, trouble || pauseText(pausedBy));
    button.title = pausedBy === null ? "Begin no new pictures; what develops goes on" : "Nothing new begins while the queue is paused; what develops goes on";
  }

  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    trouble = (await askQueue(pausedBy === null ? "pause" : "resume")) ?? "";
    button.removeAttribute("aria-disabled");
    paint();
  });
  return (by) => {
    if (by !== pausedBy) trouble = "";
    pausedBy = by;
    paint();
  };
}
