// @ts-check
/**
 * The history: every frame there ever was, newest first, filtered, as a grid that holds only what is seen.
 *
 * Places in the grid are counted from the frame that was newest when the question was asked, so that new
 * pictures do not push everything along under the eyes; a note says that there are some, and asks anew.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {import("./fold.js").State} State
 */
import { framesPage } from "./api.js";
import { cellOf } from "./cell.js";
import { filled } from "./filter.js";
import { makeGrid } from "./grid.js";
import { rename } from "./router.js";
import { makePages } from "./pages.js";
import { byId, make, write } from "./write.js";

/** Frames in a page: two windows full, and a few kilobytes to fetch. */
const PAGE = 100;
/** Milliseconds after the last key in which someone may still be typing. */
const TYPING = 200;
const FIELDS = ["text", "project", "model", "status", "since", "until"];

/** @param {{ chosen: ReadonlySet<number> }} choice */
export function makeHistory(choice) {
  const form = /** @type {HTMLFormElement} */ (byId("history-filter"));
  const said = /** @type {HTMLElement} */ (byId("history-said"));
  const newer = /** @type {HTMLElement} */ (byId("history-newer"));
  let epoch = "";
  let open = false;
  let turn = 0;
  /** The frame after the newest of this grid. */
  let top = 0;
  /** The number that the next frame will have. */
  let following = 0;
  let pages = makePages(PAGE, async () => /** @type {Frame[] | null} */ (null), () => {});
  const grid = makeGrid(byId("grid"), {
    least: matchMedia("(max-width: 40rem)").matches ? 150 : 176,
    caption: 54,
    make: (index) => cellOf(pages.row(index), epoch, choice.chosen),
    want: (from, to) => pages.want(from, to),
  });

  async function ask() {
    const mine = ++turn;
    const filter = filled(form);
    rename(`#/history${filter.size ? `?${filter}` : ""}`);
    const first = await framesPage(paged(filter, {}));
    if (mine !== turn) return;
    if ("trouble" in first) {
      write(said, first.trouble);
      return;
    }
    top = first.frames.length && !filter.size ? first.frames[0].id + 1 : Math.max(following, (first.frames[0]?.id ?? 0) + 1);
    following = Math.max(following, top);
    offerMenus(form, first);
    write(said, countText(first.total, filter.size > 0));
    /** @type {import("./api.js").Page | null} */
    let ready = first;
    pages = makePages(PAGE, async (page) => {
      if (page === 0 && ready) return ready.frames;
      ready = null;
      const answer = await framesPage(paged(filter, { before: top, skip: page * PAGE }));
      return mine === turn && !("trouble" in answer) ? answer.frames : null;
    }, () => grid.refresh((index) => pages.row(index) !== undefined && isBlank(index)));
    grid.reset(first.total);
    tellNewer();
  }

  /** @param {number} index */
  const isBlank = (index) => byId("grid").querySelector(`[data-index="${index}"]`)?.classList.contains("blank") ?? false;

  function tellNewer() {
    const count = following - top;
    newer.hidden = count <= 0;
    write(newer, `Show ${count} new ${count === 1 ? "picture" : "pictures"}`);
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(ask, TYPING);
  });
  byId("history-clear").addEventListener("click", () => (form.reset(), ask()));
  newer.addEventListener("click", () => (scrollTo(0, 0), ask()));
  return {
    /** @param {URLSearchParams} query  the filters to begin with */
    open(query) {
      open = true;
      for (const name of FIELDS) fill(form, name, query);
      ask();
    },
    close() {
      open = false;
      clearTimeout(typing);
    },
    search: () => byId("history-text").focus(),
    grid,
    /** The frame of the cell that has the focus. */
    current: () => {
      const cell = document.activeElement?.closest(".cell");
      return cell instanceof HTMLElement ? { index: Number(cell.dataset.index), frame: pages.row(Number(cell.dataset.index)) ?? null } : null;
    },
    /** @param {ReadonlySet<number>} frames  whether they are chosen has changed */
    repaint: (frames) => grid.refresh((index) => frames.has(pages.row(index)?.id ?? 0)),
    /** @param {State} state */
    follow(state) {
      epoch = state.epoch;
      for (const id of state.frames.keys()) following = Math.max(following, id + 1);
      if (open) tellNewer();
    },
  };
}

/**
 * @param {URLSearchParams} filter
 * @param {{ before?: number, skip?: number }} place
 */
function paged(filter, { before, skip = 0 }) {
  const query = new URLSearchParams(filter);
  const several = query.getAll("status");
  if (several.length) query.set("status", several.join(","));
  query.set("limit", String(PAGE));
  if (before !== undefined) query.set("before", String(before));
  if (skip) query.set("skip", String(skip));
  return query;
}

/**
 * @param {number} total
 * @param {boolean} filtered
 */
function countText(total, filtered) {
  const count = total.toLocaleString();
  if (!total) return filtered ? "No picture fits." : "No pictures yet.";
  return `${count} ${total === 1 ? "picture" : "pictures"}${filtered ? (total === 1 ? " fits" : " fit") : ""}`;
}

/**
 * Projects and models to choose from, keeping what is chosen.
 * @param {HTMLFormElement} form
 * @param {import("./api.js").Page} page
 */
function offerMenus(form, { models = [], projects = [] }) {
  for (const [name, values] of /** @type {[string, string[]][]} */ ([["model", models], ["project", projects]])) {
    const menu = /** @type {HTMLSelectElement} */ (form.elements.namedItem(name));
    const chosen = menu.value;
    const all = [...new Set([...values, ...(chosen ? [chosen] : [])])];
    menu.replaceChildren(make("option", { value: "" }, `any ${name}`), ...all.map((value) => make("option", { value }, value)));
    menu.value = chosen;
  }
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 * @param {URLSearchParams} query
 */
function fill(form, name, query) {
  const value = query.get(name);
  const field = form.elements.namedItem(name);
  if (value === null) return;
  if (field instanceof HTMLSelectElement && ![...field.options].some((option) => option.value === value)) {
    field.append(make("option", { value }, value));
  }
  if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = value;
}
