// @ts-check
/**
 * Rows of a long list by their place in it, fetched in pages when they are looked at.
 *
 * Of pages wanted at once the one asked for last comes first: after a jump of the scroll bar that is what
 * is in sight. Two at a time, so that a wild scroll does not queue up a hundred.
 *
 * @template Row
 * @typedef {object} Pages
 * @property {(index: number) => Row | undefined} row  what is there already
 * @property {(from: number, to: number) => void} want  the rows that are in sight
 * @property {(index: number, row: Row) => void} replace
 */

const AT_ONCE = 2;

/**
 * @template Row
 * @param {number} size  rows in a page
 * @param {(page: number) => Promise<readonly Row[] | null>} fetchPage  null if it cannot be had now
 * @param {() => void} arrived  after each page
 * @returns {Pages<Row>}
 */
export function makePages(size, fetchPage, arrived) {
  /** @type {Map<number, Row[]>} */
  const known = new Map();
  /** @type {Set<number>} */
  const coming = new Set();
  /** @type {number[]} */
  let wanted = [];

  async function work() {
    const page = wanted.find((one) => !coming.has(one) && !known.has(one));
    if (page === undefined || coming.size >= AT_ONCE) return;
    coming.add(page);
    const rows = await fetchPage(page);
    coming.delete(page);
    if (rows) {
      known.set(page, [...rows]);
      arrived();
    } else wanted = wanted.filter((one) => one !== page); // until it is looked at again
    work();
  }

  return {
    row: (index) => known.get(Math.floor(index / size))?.[index % size],
    replace: (index, row) => {
      const page = known.get(Math.floor(index / size));
      if (page) page[index % size] = row;
    },
    want(from, to) {
      wanted = [];
      for (let page = Math.floor(from / size); page * size < to; page += 1) wanted.push(page);
      for (let slot = coming.size; slot < AT_ONCE; slot += 1) work();
    },
  };
}
