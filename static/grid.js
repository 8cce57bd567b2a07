// @ts-check
/**
 * A grid of any length of which only what is near the window exists.
 *
 * Cells have one size, so that the place of each is known before it is fetched; the page's own scroll bar
 * scrolls, which feels right on a phone as well. Cells that stay in sight stay the same elements, so a
 * picture is not loaded twice and the focus keeps its place.
 */

/** Pixels. */
const GAP = 16;
/** Rows kept above and below the window. */
const MARGIN = 3;

/**
 * Rows that are near the window.  PURE
 * @param {{ top: number, height: number, row: number, rows: number }} seen  the window's top within the grid, in pixels
 * @returns {[number, number]} from, to (exclusive)
 */
export function rowsNear({ top, height, row, rows }) {
  const from = Math.max(0, Math.floor(top / row) - MARGIN);
  const to = Math.min(rows, Math.ceil((top + height) / row) + MARGIN);
  return [Math.min(from, rows), Math.max(to, Math.min(from, rows))];
}

/**
 * @param {HTMLElement} root
 * @param {object} how
 * @param {number} how.least  a cell's width in pixels, at least
 * @param {number} how.caption  pixels beneath a cell's picture
 * @param {(index: number) => HTMLElement} how.make  the cell of a row that may still be on its way
 * @param {(from: number, to: number) => void} how.want  the rows in sight
 */
export function makeGrid(root, { least, caption, make, want }) {
  /** @type {Map<number, HTMLElement>} */
  const cells = new Map();
  let total = 0;
  let waiting = false;

  function measure() {
    const width = root.clientWidth;
    const columns = Math.max(2, Math.floor((width + GAP) / (least + GAP)));
    const cell = (width - GAP * (columns - 1)) / columns;
    return { columns, cell, row: cell + caption + GAP };
  }

  function draw() {
    waiting = false;
    const { columns, cell, row } = measure();
    const rows = Math.ceil(total / columns);
    root.style.height = `${Math.max(0, rows * row - GAP)}px`;
    root.style.setProperty("--cell", `${cell}px`);
    const top = -root.getBoundingClientRect().top;
    const [first, end] = rowsNear({ top, height: innerHeight, row, rows });
    const [from, to] = [first * columns, Math.min(end * columns, total)];
    for (const [index, element] of cells) if (index < from || index >= to) drop(index, element);
    for (let index = from; index < to; index += 1) place(index, (index % columns) * (cell + GAP), Math.floor(index / columns) * row);
    if (to > from) want(from, to);
  }

  /**
   * @param {number} index
   * @param {number} x
   * @param {number} y
   */
  function place(index, x, y) {
    const element = cells.get(index) ?? hang(index);
    element.style.transform = `translate(${x}px, ${y}px)`;
  }

  /** @param {number} index */
  function hang(index) {
    const element = make(index);
    element.dataset.index = String(index);
    cells.set(index, element);
    root.append(element);
    return element;
  }

  /**
   * @param {number} index
   * @param {HTMLElement} element
   */
  function drop(index, element) {
    if (element.contains(document.activeElement)) return; // scrolled away from, it is still where one was
    cells.delete(index);
    element.remove();
  }

  function soon() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(draw);
  }

  addEventListener("scroll", soon, { passive: true });
  new ResizeObserver(soon).observe(root);
  return {
    draw: soon,
    /** Begin anew with so many cells. @param {number} count */
    reset(count) {
      for (const element of cells.values()) element.remove();
      cells.clear();
      total = count;
      draw();
    },
    /** @param {(index: number) => boolean} stale  make these cells anew */
    refresh(stale) {
      for (const [index, element] of [...cells]) { // those that there are now: a cell made anew comes after them
        if (!stale(index)) continue;
        const focused = element === document.activeElement;
        cells.delete(index);
        const fresh = make(index);
        fresh.dataset.index = String(index);
        fresh.style.transform = element.style.transform;
        element.replaceWith(fresh);
        cells.set(index, fresh);
        if (focused) fresh.focus({ preventScroll: true });
      }
    },
    /**
     * Move the focus to a cell, scrolling there if it is out of sight.
     * @param {number} index
     */
    focus(index) {
      if (index < 0 || index >= total) return;
      const { columns, row } = measure();
      const y = Math.floor(index / columns) * row + root.getBoundingClientRect().top;
      if (y < 80) scrollBy(0, y - 80);
      else if (y + row > innerHeight) scrollBy(0, y + row - innerHeight);
      draw();
      cells.get(index)?.focus({ preventScroll: true });
    },
    columns: () => measure().columns,
  };
}
