// @ts-check
/**
 * The wall: the state's frames as cards, keyed by frame id, each made once and moved as little as can be.
 *
 * A card never moves under the hand. While the pointer is on a button that asks for something, and for a
 * moment after it was pressed or went (the next frame's must not slide under a click on its way), cards
 * stay where they are: they go on developing, and new ones join at the end of the queue. Moving a card
 * never takes the focus from it. Of long rows the beginning hangs here; the history has everything.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./card.js").Card} Card
 * @typedef {Record<import("./arrange.js").Place, HTMLElement>} Rows
 * @typedef {{ card: Card, frame: Frame | null, around: string }} Hung
 */
import { arrange, moves } from "./arrange.js";
import { saysTheSame } from "./fold.js";
import { stepPaces, waits } from "./pace.js";
import { move, sortRow } from "./moving.js";

/** Milliseconds: longer than a double click takes, or a hand that has begun to press. */
const CALM = 700;
/** Cards in a row, at most: what a person looks through without searching. */
const SHOWN = { developing: 200, waiting: 60, ended: 60 };

/**
 * @param {HTMLElement} root
 * @param {Rows} rows  the element that holds the cards of each place, each in a section of its own
 * @param {(frame: Frame, epoch: string) => Card} make
 */
export function makeWall(root, rows, make) {
  /** @type {Map<number, Hung>} */
  const hung = new Map();
  let epoch = "";
  /** @type {Record<string, Frame[]>} */
  let arranged = { developing: [], waiting: [], ended: [] };
  /** @type {ReturnType<typeof setTimeout> | null} */
  let calm = null;

  /** @param {Frame} frame */
  function hang(frame) {
    const place = { card: make(frame, epoch), frame: null, around: "" };
    hung.set(frame.id, place);
    rows.waiting.append(place.card.element);
    return place;
  }

  /**
   * @param {State} newest
   * @param {{ past: boolean, chosen: ReadonlySet<number>, loading: string }} look
   */
  function render(newest, look) {
    if (underHand(root)) stayCalm(); // asked first: the button may go with this very state
    if (newest.epoch !== epoch) takeDown(() => true);
    epoch = newest.epoch;
    const whole = arrange(newest.frames.values());
    arranged = { developing: whole.developing.slice(0, SHOWN.developing), waiting: whole.waiting.slice(0, SHOWN.waiting), ended: whole.ended.slice(0, SHOWN.ended) };
    const shown = Object.values(arranged).flat();
    const kept = new Map(shown.map((frame) => [frame.id, frame]));
    takeDown((id, frame) => {
      const newer = kept.get(id);
      return !newer || (frame !== null && !saysTheSame(frame, newer)); // words were forgotten: no part keeps them
    });
    const surroundings = surroundingsOf(newest, whole, look);
    for (const frame of shown) show(hung.get(frame.id) ?? hang(frame), frame, surroundings(frame));
    order();
  }

  /** @param {(id: number, frame: Frame | null) => boolean} gone */
  function takeDown(gone) {
    for (const [id, { card, frame }] of hung) {
      if (!gone(id, frame)) continue;
      card.element.remove();
      hung.delete(id);
    }
  }

  function order() {
    if (calm === null && !underHand(root)) arrangeCards(arranged, hung, rows);
    for (const row of Object.values(rows)) row.parentElement?.toggleAttribute("hidden", !row.firstElementChild);
  }

  function stayCalm() {
    if (calm !== null) clearTimeout(calm);
    calm = setTimeout(() => {
      calm = null;
      order();
    }, CALM);
  }

  root.addEventListener("pointerout", () => requestAnimationFrame(order));
  root.addEventListener("click", ({ target }) => {
    if (target instanceof Element && target.closest(".asks")) stayCalm();
  });
  return {
    render,
    /** The card that this element belongs to. */
    cardAt: (/** @type {Element | null} */ element) => {
      const found = element?.closest(".card");
      return found instanceof HTMLElement ? (hung.get(Number(found.dataset.frame))?.card ?? null) : null;
    },
    /** The cards in reading order. */
    cards: () => /** @type {HTMLElement[]} */ ([...root.querySelectorAll(".card")]),
    /** Have a frame's newest picture fetched before the wall is painted. @param {Frame | undefined} frame */
    hurry: (frame) => frame && hung.get(frame.id)?.card.hurry(frame),
    /** Ask again for the pictures that could not be had. */
    refetch: () => hung.forEach(({ card }) => card.refetch()),
  };
}

/**
 * A card is painted only where it differs from what it shows.
 * @param {Hung} place
 * @param {Frame} frame
 * @param {import("./card.js").Surroundings} around
 */
function show(place, frame, around) {
  const told = JSON.stringify(around);
  if (place.frame === frame && place.around === told) return;
  place.card.show(frame, around);
  place.frame = frame;
  place.around = told;
}

/**
 * @param {State} state
 * @param {Record<import("./arrange.js").Place, Frame[]>} whole
 * @param {{ past: boolean, chosen: ReadonlySet<number>, loading: string }} look
 * @returns {(frame: Frame) => import("./card.js").Surroundings}
 */
function surroundingsOf(state, { developing, waiting }, { past, chosen, loading }) {
  const begins = waits(developing, waiting, state.makings, stepPaces(state.frames.values()), state.devices.length);
  /** @type {Map<number, number>} */
  const left = new Map();
  for (const { job } of [...developing, ...waiting]) left.set(job, (left.get(job) ?? 0) + 1);
  /** @type {Map<number, ReturnType<typeof moves>>} */
  const known = new Map();
  const ways = (/** @type {number} */ job) => {
    const found = known.get(job) ?? moves(waiting, job);
    known.set(job, found);
    return found;
  };
  return (frame) => ({
    making: state.makings.get(frame.id),
    loading: frame.status === "running" && !state.makings.has(frame.id) ? loading : "",
    wait: frame.status === "queued" && state.paused_by === null ? begins.get(frame.id) : undefined,
    ...(frame.status === "queued" ? ways(frame.job) : { sooner: null, later: null }),
    siblings: left.get(frame.job) ?? 1,
    past,
    chosen: chosen.has(frame.id),
  });
}

/**
 * A finger leaves no pointer behind, though browsers go on calling the last touched button hovered.
 * @param {HTMLElement} root
 */
function underHand(root) {
  return matchMedia("(hover: hover)").matches && root.querySelector(".asks:not([hidden]):hover") !== null;
}

/**
 * @param {Record<string, Frame[]>} arranged
 * @param {ReadonlyMap<number, Hung>} hung
 * @param {Rows} rows
 */
function arrangeCards(arranged, hung, rows) {
  const places = Object.entries(arranged).map(([place, list]) => ({
    row: rows[/** @type {keyof Rows} */ (place)],
    cards: list.flatMap(({ id }) => hung.get(id)?.card.element ?? []),
  }));
  // First every card into its row, then the order within: what stays in its row is then not touched.
  for (const { row, cards } of places) {
    for (const card of cards) if (card.parentElement !== row) move(row, card, null);
  }
  for (const { row, cards } of places) sortRow(row, cards);
}
