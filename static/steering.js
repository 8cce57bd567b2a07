// @ts-check
/**
 * Going from picture to picture by keys: which one is next in reading order, or above and below.
 */

/**
 * Move the focus among elements that stand in reading order.
 * @param {HTMLElement[]} all
 * @param {"next" | "previous" | "down" | "up"} way
 */
export function step(all, way) {
  const current = all.findIndex((one) => one.contains(document.activeElement));
  const next = current < 0 ? all[0] : way === "next" || way === "previous" ? all[current + (way === "next" ? 1 : -1)] : nearest(all, all[current], way);
  if (!next) return;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

/**
 * The nearest of the next row, below or above.
 * @param {HTMLElement[]} all
 * @param {HTMLElement} from
 * @param {"down" | "up"} way
 */
function nearest(all, from, way) {
  const here = placeOf(from);
  const sign = way === "down" ? 1 : -1;
  const beyond = all.map((one) => ({ one, at: placeOf(one) })).filter(({ at }) => sign * (at.y - here.y) > 8);
  const row = Math.min(...beyond.map(({ at }) => sign * at.y));
  const inRow = beyond.filter(({ at }) => sign * at.y < row + 40);
  return inRow.sort((a, b) => Math.abs(a.at.x - here.x) - Math.abs(b.at.x - here.x))[0]?.one;
}

/**
 * Its middle, and its upper edge: cards of a row begin at one height, however long their words make them.
 * @param {HTMLElement} element
 */
function placeOf(element) {
  const { left, top, width } = element.getBoundingClientRect();
  return { x: left + width / 2, y: top };
}
