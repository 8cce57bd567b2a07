// @ts-check
/**
 * The log as it grows: newest first, filtered by type, frame or job, each event with its hash.
 *
 * The stream brings what is new. It leaves out steps that a later one has overtaken, so where a number is
 * missing the page asks for what lies between. Older events come in pages.
 *
 * @typedef {import("./fold.js").Message} Message
 */
import { logPage } from "./api.js";
import { eventRow } from "./eventrow.js";
import { TYPES } from "./summary.js";
import { byId, make, onPress, write } from "./write.js";

const PAGE = 200;
/** Rows in the page, at most: enough to scroll through, few enough to stay quick while the log grows. */
const ROWS = 2000;

/**
 * Whether an event passes the filters.  PURE
 * @param {Message} message
 * @param {URLSearchParams} filter
 */
export function passes({ type, data }, filter) {
  const [wanted, frame, job] = ["type", "frame", "job"].map((name) => filter.get(name) ?? "");
  return (!wanted || wanted === type) && (!frame || Number(frame) === data.frame) && (!job || Number(job) === data.job);
}

export function makeLog() {
  const form = /** @type {HTMLFormElement} */ (byId("log-filter"));
  const list = /** @type {HTMLElement} */ (byId("events"));
  const older = /** @type {HTMLElement} */ (byId("log-older"));
  const said = /** @type {HTMLElement} */ (byId("log-said"));
  let open = false;
  let filter = new URLSearchParams();
  let turn = 0;
  let newest = 0;
  /** @type {number | null} */
  let before = null;

  /** @param {number | null} from */
  async function load(from) {
    const mine = ++turn;
    const query = new URLSearchParams(filter);
    query.set("order", "desc");
    query.set("limit", String(PAGE));
    if (from !== null) query.set("before", String(from));
    const page = await logPage(query);
    if (mine !== turn) return;
    if ("trouble" in page) {
      write(said, page.trouble);
      return;
    }
    if (from === null) list.replaceChildren();
    list.append(...page.events.map(eventRow));
    if (from === null) newest = page.position;
    before = page.next;
    older.hidden = before === null || list.childElementCount >= ROWS;
    write(said, list.childElementCount ? "" : "No event fits.");
  }

  /** @param {Message} message */
  function hear(message) {
    if (!open || message.seq <= newest) return;
    const gap = message.seq > newest + 1;
    newest = message.seq;
    if (gap) {
      load(null);
      return;
    }
    if (!passes(message, filter)) return;
    write(said, "");
    list.prepend(eventRow(message));
    while (list.childElementCount > ROWS) list.lastElementChild?.remove();
  }

  const type = /** @type {HTMLSelectElement} */ (form.elements.namedItem("type"));
  type.append(...TYPES.map((name) => make("option", { value: name }, name)));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", () => {
    filter = filled(form);
    load(null);
  });
  onPress(older, () => load(before));
  return {
    hear,
    /** @param {URLSearchParams} query  the filters to begin with */
    open(query) {
      open = true;
      for (const name of ["type", "frame", "job"]) {
        const field = form.elements.namedItem(name);
        if (field instanceof HTMLInputElement || field instanceof HTMLSelectElement) field.value = query.get(name) ?? field.value;
      }
      filter = filled(form);
      load(null);
    },
    close: () => (open = false),
  };
}

/**
 * What was filled in.
 * @param {HTMLFormElement} form
 */
export function filled(form) {
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(form)) if (String(value).trim()) query.append(name, String(value).trim());
  return query;
}
