// @ts-check
/**
 * Cards change their place without losing focus, hover or a running fade.
 */

/**
 * Bring a row's cards into this order, touching only those that stand wrong.
 * @param {HTMLElement} row
 * @param {HTMLElement[]} cards
 */
export function sortRow(row, cards) {
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
export function move(row, card, before) {
  if ("moveBefore" in row) {
    row.moveBefore(card, before);
    return;
  }
  const focused = card.contains(document.activeElement) ? document.activeElement : null;
  /** @type {HTMLElement} */ (row).insertBefore(card, before);
  if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
}
