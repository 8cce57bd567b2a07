// @ts-check
/**
 * The slider that sets the whole wall back to any moment of the log.
 *
 * At its right end stands now, and the wall lives. Anywhere else the daemon is asked how everything stood
 * after that event, one question at a time; of the moments passed meanwhile only the newest is wanted.
 * What happens now is followed all the same, so that coming back takes no time.
 *
 * @typedef {import("./fold.js").State} State
 */
import { stateAt } from "./api.js";
import { fromSnapshot } from "./fold.js";
import { isStill } from "./pictures.js";
import { momentText } from "./words.js";
import { write } from "./write.js";

/** Milliseconds between two moments while the past plays, and how many moments the whole log is. */
const TICK = 120;
const CALM_TICK = 1000;
const MOMENTS = 240;

/**
 * @param {HTMLElement} bar
 * @param {(past: State | null) => void} become  what the wall shows from now on; null: what is now
 */
export function makePast(bar, become) {
  const range = /** @type {HTMLInputElement} */ (bar.querySelector("input"));
  const said = /** @type {HTMLElement} */ (bar.querySelector(".moment"));
  const now = /** @type {HTMLElement} */ (bar.querySelector(".now"));
  const player = /** @type {HTMLElement} */ (bar.querySelector(".play"));
  let epoch = "";
  let newest = 0;
  let busy = false;
  let isPast = false;
  /** @type {number | null} */
  let wanted = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let playing;

  function tell(text = isPast ? "" : "Now") {
    write(said, text);
    range.setAttribute("aria-valuetext", text);
    now.hidden = !isPast;
    bar.classList.toggle("is-past", isPast);
    document.body.classList.toggle("in-past", isPast);
    write(player, playing === undefined ? "Play" : "Stop");
  }

  async function work() {
    busy = true;
    while (wanted !== null) {
      const seq = wanted;
      wanted = null;
      const answer = await stateAt(seq);
      if (!isPast) break;
      if ("trouble" in answer) tell(answer.trouble);
      else {
        become(fromSnapshot(answer, epoch));
        tell(`${momentText(answer.ts)} · event ${seq} of ${newest}`);
      }
    }
    busy = false;
  }

  /** @param {number} seq */
  function goTo(seq) {
    if (seq >= newest) return comeBack();
    isPast = true;
    range.value = String(Math.max(1, seq));
    wanted = Number(range.value);
    if (!busy) work();
  }

  function comeBack() {
    halt();
    isPast = false;
    wanted = null;
    range.value = range.max;
    become(null);
    tell();
  }

  function halt() {
    clearInterval(playing);
    playing = undefined;
  }

  function play() {
    if (playing !== undefined) {
      halt();
      return tell(said.textContent ?? "");
    }
    if (!isPast) goTo(1);
    const stride = Math.max(1, Math.round(newest / MOMENTS));
    playing = setInterval(() => busy || goTo(Number(range.value) + stride), isStill() ? CALM_TICK : TICK);
    tell(said.textContent ?? "");
  }

  range.addEventListener("input", () => (halt(), goTo(Number(range.value))));
  now.addEventListener("click", () => (comeBack(), range.focus()));
  player.addEventListener("click", play);
  return {
    play,
    /** @param {number} delta  events */
    turn: (delta) => (halt(), goTo(Number(range.value) + delta)),
    leave: () => isPast && comeBack(),
    /** @param {State} state  what is now */
    follow(state) {
      [epoch, newest] = [state.epoch, state.position];
      bar.hidden = newest < 2;
      range.max = String(newest);
      if (!isPast) {
        range.value = range.max;
        tell();
      }
    },
  };
}
