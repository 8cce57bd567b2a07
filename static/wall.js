// @ts-check
/**
 * The wall: the state's frames as cards, keyed by frame id, each made once and moved as little as can be.
 *
 * A card never moves under the hand. While the pointer is on a Stop button, and for a moment after the
 * button was pressed or went (the next frame's must not slide under a click on its way), cards stay where
 * they are: they go on developing, and new ones join at the end of the queue. Moving a card never takes
 * the focus from it.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").State} State
 * @typedef {import("./card.js").Card} Card
 * @typedef {Record<import("./arrange.js").Place, HTMLElement>} Rows
 */
import { arrange } from "./arrange.js";

/** Milliseconds: longer than a double click takes, or a hand that has begun to press. */
const CALM = 700;

/**
 * @param {HTMLElement} root
 * @param {Rows} rows  the element that holds the cards of each place, each in a section of its own
 * @param {(frame: Frame, epoch: string) => Card} make
 */
export function makeWall(root, rows, make) {
  /** @type {Map<number, { card: Card, frame: Frame | null }>} */
  const hung = new Map();
  let epoch = "";
  /** @type {State | null} */
  let state = null;
  /** @type {ReturnType<typeof setTimeout> | null} */
  let calm = null;

  /** @param {Frame} frame */
  function hang(frame) {
    const place = { card: make(frame, epoch), frame: null };
    hung.set(frame.id, place);
    rows.waiting.append(place.card.element);
    return place;
  }

  /** @param {State} newest */
  function render(newest) {
    if (underHand(root)) stayCalm(); // asked first: the button may go with this very state
    if (newest.epoch !== epoch) takeDown(() => true);
    epoch = newest.epoch;
    state = newest;
    takeDown((id) => !newest.frames.has(id));
    for (const frame of newest.frames.values()) {
      const place = hung.get(frame.id) ?? hang(frame);
      if (place.frame !== frame) place.card.show(frame);
      place.frame = frame;
    }
    order();
  }

  /** @param {(id: number) => boolean} gone */
  function takeDown(gone) {
    for (const [id, { card }] of hung) {
      if (!gone(id)) continue;
      card.element.remove();
      hung.delete(id);
    }
  }

  function order() {
    if (!state) return;
    if (calm === null && !underHand(root)) arrangeCards(state.frames.values(), hung, rows);
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
    if (target instanceof Element && target.closest(".stop")) stayCalm();
  });
  return {
    render,
    /** Ask again for the pictures that could not be had. */
    refetch: () => hung.forEach(({ card }) => card.refetch()),
  };
}

/**
 * A finger leaves no pointer behind, though browsers go on calling the last touched button hovered.
 * @param {HTMLElement} root
 */
function underHand(root) {
  return matchMedia("(hover: hover)").matches && root.querySelector(".stop:not([hidden]):hover") !== null;
}

/**
 * @param {Iterable<Frame>} frames
 * @param {ReadonlyMap<number, { card: Card }>} hung
 * @param {Rows} rows
 */
function arrangeCards(frames, hung, rows) {
  const places = Object.entries(arrange(frames)).map(([place, list]) => ({
    row: rows[/** @type {keyof Rows} */ (place)],
    cards: list.flatMap(({ id }) => hung.get(id)?.card.element ?? []),
  }));
  // First every card into its row, then the order within: what stays in its row is then not touched.
  for (const { row, cards } of places) {
    for (const card of cards) if (card.parentElement !== row) move(row, card, null);
  }
  for (const { row, cards } of places) sortRow(row, cards);
}

/**
 * @param {HTMLElement} row
 * @param {HTMLElement[]} cards
 */
function sortRow(row, cards) {
  let next = row.firstElementChild;
  for (const card of cards) {
    if (card === next) next = next.nextElementSibling;
    else move(row, card, next);
  }
}

/**
 * `moveBefore` keeps focus, hover and running fades; browsers that lack it get the focus back by hand.
 * @param {HTMLElement} row
 * @param {HTMLElement} card
 * @param {Element | null} before
 */
function move(row, card, before) {
  if ("moveBefore" in row) {
    row.moveBefore(card, before);
    return;
  }
  const focused = card.contains(document.activeElement) ? document.activeElement : null;
  /** @type {HTMLElement} */ (row).insertBefore(card, before);
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
}
