// @ts-check
/**
 * Pictures side by side, locked to the same step: one slider moves all their films.
 *
 * Where one kept fewer steps than another, it shows the newest that it has up to the step in question;
 * at the slider's end stand the pictures themselves.
 */
import { frameDetail } from "./api.js";
import { makeFilm } from "./film.js";
import { isStill, finalUrl } from "./pictures.js";
import { facts } from "./words.js";
import { make, write, writeItems, byId } from "./write.js";

/** Milliseconds that a playing comparison shows each step. */
const PACE = 120;
const CALM_PACE = 600;

/** @typedef {{ element: HTMLElement, film: import("./film.js").Film, steps: number }} Column */

export function makeCompare() {
  const row = /** @type {HTMLElement} */ (byId("columns"));
  const range = /** @type {HTMLInputElement} */ (byId("compare-step"));
  const said = /** @type {HTMLElement} */ (byId("compare-said"));
  const player = /** @type {HTMLElement} */ (byId("compare-play"));
  /** @type {Column[]} */
  let columns = [];
  let turn = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let playing;

  /** @param {number} step */
  function show(step) {
    const last = Number(range.max);
    const now = Math.min(Math.max(step, 1), last);
    range.value = String(now);
    const text = now === last ? "the pictures" : `step ${now} of ${last - 1}`;
    range.setAttribute("aria-valuetext", text);
    write(said, text);
    for (const { film } of columns) now === last ? film.leave() : film.showStep(now);
  }

  function halt() {
    clearInterval(playing);
    playing = undefined;
    write(player, "Play");
  }

  function play() {
    if (playing !== undefined) return halt();
    if (range.value === range.max) show(1);
    playing = setInterval(() => {
      if (range.value === range.max) halt();
      else show(Number(range.value) + 1);
    }, isStill() ? CALM_PACE : PACE);
    write(player, "Stop");
  }

  range.addEventListener("input", () => (halt(), show(Number(range.value))));
  player.addEventListener("click", play);
  return {
    /**
     * @param {number[]} frames
     * @param {string} epoch
     */
    async open(frames, epoch) {
      const mine = ++turn;
      halt();
      const found = await Promise.all(frames.map((id) => columnOf(id, epoch)));
      if (mine !== turn) return;
      columns = found.filter((column) => column !== null);
      row.replaceChildren(...columns.map(({ element }) => element));
      row.style.setProperty("--columns", String(columns.length));
      range.max = String(Math.max(1, ...columns.map(({ steps }) => steps)) + 1);
      show(Number(range.max));
      if (!columns.length) write(said, "Choose pictures on the wall or in the history with c, then compare them here.");
      range.disabled = columns.length === 0;
    },
    close: () => (turn++, halt()),
    play,
    /** @param {number} delta */
    step: (delta) => (halt(), show(Number(range.value) + delta)),
  };
}

/**
 * @param {number} id
 * @param {string} epoch
 * @returns {Promise<Column | null>} null where there is no such frame
 */
async function columnOf(id, epoch) {
  const detail = await frameDetail(id);
  if ("trouble" in detail) return null;
  const { frame } = detail;
  const sheet = make("div", { className: "sheet" });
  const open = make("a", { className: "open", href: `#/frame/${id}`, "aria-label": `Look closer at frame ${id}: ${frame.prompt}` });
  sheet.style.setProperty("--ratio", `${frame.width} / ${frame.height}`);
  if (frame.path) sheet.append(make("img", { className: "picture", alt: frame.prompt, src: finalUrl(frame, epoch) }));
  sheet.append(open);
  const said = make("p", { className: "film-said" });
  const list = make("ul", { className: "facts" });
  writeItems(list, [...facts(frame), `${frame.sampler} ${frame.scheduler}`, `cfg ${frame.cfg_scale}`]);
  const range = make("input", { type: "range", hidden: true });
  const film = makeFilm({ sheet, range, said }, id, epoch);
  await film.load();
  return { element: make("figure", {}, sheet, said, make("figcaption", {}, make("p", { className: "prompt" }, frame.prompt), list)), film, steps: frame.steps };
}
