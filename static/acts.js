// @ts-check
/**
 * What each key's act means where one is: on the wall, in the history, over a frame, in a comparison.
 *
 * @typedef {import("./keys.js").Acts} Acts
 */
import { go } from "./router.js";
import { step } from "./steering.js";
import { byId } from "./write.js";

/**
 * @param {object} parts
 * @param {() => import("./router.js").Place["view"]} parts.view
 * @param {ReturnType<typeof import("./wall.js").makeWall>} parts.wall
 * @param {ReturnType<typeof import("./past.js").makePast>} parts.past
 * @param {ReturnType<typeof import("./history.js").makeHistory>} parts.history
 * @param {ReturnType<typeof import("./log.js").makeLog>} parts.log
 * @param {ReturnType<typeof import("./compare.js").makeCompare>} parts.compare
 * @param {ReturnType<typeof import("./detail.js").makeDetail>} parts.detail
 * @param {ReturnType<typeof import("./choice.js").makeChoice>} parts.choice
 * @param {() => void} parts.undo
 * @returns {() => Acts}
 */
export function makeActs({ view, wall, past, history, log, compare, detail, choice, undo }) {
  const help = /** @type {HTMLDialogElement} */ (byId("help"));
  help.addEventListener("click", ({ target }) => {
    if (target === help || (target instanceof Element && target.closest(".close"))) help.close();
  });
  byId("show-help").addEventListener("click", () => help.showModal());

  /** @type {Acts} */
  const everywhere = {
    undo,
    help: () => help.showModal(),
    search: () => {
      addEventListener("hashchange", history.search, { once: true }); // the router heard of it first: the view is there
      go("#/history");
    },
    leave: () => {
      if (document.activeElement instanceof HTMLElement) document.activeElement.blur();
      past.leave();
      if (view() !== "wall") go("#/");
    },
  };

  /** @returns {Acts} */
  function onWall() {
    const card = wall.cardAt(document.activeElement);
    const steps = ways((way) => step(wall.cards(), way), card !== null);
    if (!card) return { ...steps, play: past.play, back: () => past.turn(-1), on: () => past.turn(1) };
    const { film, element } = card;
    return {
      ...steps,
      stop: card.stop,
      compare: card.choose,
      play: film.play,
      back: () => film.turn(-1),
      on: () => film.turn(1),
      enter: () => go(`#/frame/${element.dataset.frame}`),
    };
  }

  /** @returns {Acts} */
  function inHistory() {
    const current = history.current();
    const by = { next: 1, previous: -1, down: history.grid.columns(), up: -history.grid.columns() };
    const steps = ways((way) => history.grid.focus(current ? current.index + by[way] : 0), current !== null);
    const acts = { ...steps, search: history.search };
    return current?.frame ? { ...acts, compare: () => choice.toggle(current.frame?.id ?? 0) } : acts;
  }

  /** @returns {Acts} */
  function overFrame() {
    const film = detail.film();
    return {
      undo,
      stop: detail.stop,
      compare: () => choice.toggle(detail.frame()),
      play: film?.play,
      back: () => film?.turn(-1),
      on: () => film?.turn(1),
    };
  }

  return () => {
    if (help.open) return {};
    if (detail.isOpen()) return overFrame();
    if (view() === "wall") return { ...everywhere, ...onWall() };
    if (view() === "history") return { ...everywhere, ...inHistory() };
    if (view() === "log") return { ...everywhere, search: log.search };
    if (view() === "compare") return { ...everywhere, play: compare.play, back: () => compare.step(-1), on: () => compare.step(1) };
    return everywhere;
  };
}

/**
 * The arrows scroll the page until something is chosen with j or k.
 * @param {(way: "next" | "previous" | "down" | "up") => void} move
 * @param {boolean} chosen
 * @returns {Acts}
 */
function ways(move, chosen) {
  const along = { next: () => move("next"), previous: () => move("previous") };
  return chosen ? { ...along, down: () => move("down"), up: () => move("up") } : along;
}
