// @ts-check
/**
 * The log as it grows: newest first, filtered by type, frame, job or words, each event with its hash.
 *
 * The stream brings what is new. It leaves out steps that a later one has overtaken, so where a number is
 * missing the page asks for what lies between. Older events come in pages; a search for words looks further
 * back by itself, a stretch of the log at a time, until a window is full.
 *
 * @typedef {import("./fold.js").Message} Message
 */
import { logPage } from "./api.js";
import { eventRow } from "./eventrow.js";
import { filled, passes } from "./filter.js";
import { rename } from "./router.js";
import { TYPES } from "./summary.js";
import { byId, make, onPress, write } from "./write.js";

const PAGE = 200;
/** Rows in the page, at most: enough to scroll through, few enough to stay quick while the log grows. */
const ROWS = 2000;
/** Rows that fill a window. */
const WINDOW = 50;
/** Milliseconds after the last key in which someone may still be typing. */
const TYPING = 200;
const FIELDS = ["type", "frame", "job", "text"];

export function makeLog() {
  const form = /** @type {HTMLFormElement} */ (byId("log-filter"));
  const list = /** @type {HTMLElement} */ (byId("events"));
  const older = /** @type {HTMLElement} */ (byId("log-older"));
  const said = /** @type {HTMLElement} */ (byId("log-said"));
  let open = false;
  let filter = new URLSearchParams();
  let turn = 0;
  /** The newest event that was heard of. */
  let heard = 0;
  /** @type {number | null} the event up to which the list is whole; null while it is asked for */
  let newest = null;
  /** The turn in which what was missed is being asked for. */
  let catching = 0;
  /** @type {number | null} */
  let before = null;

  /**
   * A page of what passes; null if it could not be had, or nobody wants it any more.
   * @param {number} mine  the turn in which it is wanted
   * @param {Record<string, string | number>} place
   */
  async function ask(mine, place) {
    const query = new URLSearchParams(filter);
    for (const [name, value] of Object.entries({ limit: PAGE, ...place })) query.set(name, String(value));
    const page = await logPage(query);
    if (mine !== turn) return null;
    if (!("trouble" in page)) return page;
    write(said, page.trouble);
    return null;
  }

  async function begin() {
    const mine = ++turn;
    filter = filled(form);
    rename(`#/log${filter.size ? `?${filter}` : ""}`);
    newest = null;
    const page = await ask(mine, { order: "desc" });
    if (mine !== turn) return;
    list.replaceChildren();
    newest = page?.position ?? 0; // none was had: the next event that is heard asks again
    if (!page) return;
    lay(page);
    catchUp();
    await lookBack(mine);
  }

  /** @param {number} mine */
  async function lookBack(mine) {
    let had = true;
    while (had && mine === turn && before !== null && list.childElementCount < WINDOW) {
      write(said, `Looking through older events, from ${before} back…`);
      had = await further(mine);
    }
  }

  /** @returns {Promise<boolean>} whether it was had */
  async function further(mine = turn) {
    const page = await ask(mine, { order: "desc", before: before ?? 0 });
    if (page) lay(page);
    return page !== null;
  }

  /** @param {import("./api.js").LogPage} page  older ones */
  function lay({ events, next }) {
    list.append(...events.map(eventRow));
    before = next;
    older.hidden = before === null || list.childElementCount >= ROWS;
    write(said, list.childElementCount ? "" : "No event fits.");
  }

  async function catchUp() {
    const mine = turn;
    if (catching === mine) return;
    catching = mine;
    while (newest !== null && newest < heard) {
      const page = await ask(mine, { after: newest });
      if (!page || page.position <= newest) break;
      if (page.next !== null) {
        begin(); // so many that one would not have seen them pass
        return;
      }
      newest = page.position;
      page.events.forEach(add);
    }
    if (catching === mine) catching = 0;
  }

  /** @param {Message} message  newer than all */
  function add(message) {
    write(said, "");
    list.prepend(eventRow(message));
    while (list.childElementCount > ROWS) list.lastElementChild?.remove();
  }

  /** @param {Message} message */
  function hear(message) {
    heard = Math.max(heard, message.seq);
    if (!open || newest === null || message.seq <= newest) return;
    if (catching === turn || message.seq > newest + 1) {
      catchUp();
      return;
    }
    newest = message.seq;
    if (passes(message, filter)) add(message);
  }

  const type = /** @type {HTMLSelectElement} */ (form.elements.namedItem("type"));
  type.append(...TYPES.map((name) => make("option", { value: name }, name)));
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(begin, TYPING);
  });
  onPress(older, async () => void (await further()));
  return {
    hear,
    search: () => byId("log-text").focus(),
    /** @param {URLSearchParams} query  the filters to begin with */
    open(query) {
      open = true;
      for (const name of FIELDS) {
        const field = form.elements.namedItem(name);
        if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = query.get(name) ?? field.value;
      }
      begin();
    },
    close() {
      open = false;
      turn += 1;
      clearTimeout(typing);
    },
  };
}
