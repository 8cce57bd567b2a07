// @ts-check
/**
 * Where in the page one is, as the part of the address behind `#`: so that Back works, a place can be
 * bookmarked, and a picture opened in a tab of its own.
 *
 * `#/` the wall · `#/history?text=fox` · `#/log?frame=7` · `#/compare/3,4` · `#/frame/42`, which lies over
 * whatever was open before.
 *
 * @typedef {"wall" | "history" | "log" | "compare"} View
 * @typedef {{ view: View, frames: number[], query: URLSearchParams } | { view: "frame", frames: number[], query: URLSearchParams }} Place
 */

/** @type {ReadonlySet<string>} */
const VIEWS = new Set(["wall", "history", "log", "compare", "frame"]);

/**
 * What an address means; whatever is not understood is the wall.  PURE
 * @param {string} hash
 * @returns {Place}
 */
export function placeAt(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ids = ""] = path.split("/");
  const frames = ids.split(",").map(Number).filter((id) => Number.isSafeInteger(id) && id > 0);
  const known = VIEWS.has(name) && (name !== "frame" || frames.length === 1);
  const view = /** @type {Place["view"]} */ (known ? name : "wall");
  return { view, frames, query: new URLSearchParams(query) };
}

/** The address of the view, over which a frame may lie. */
let base = "#/";

/**
 * Follow the address: `open` is told of each view, `look` of the frame that lies over it, or null.
 * @param {(place: Place) => void} open
 * @param {(frame: number | null) => void} look
 */
export function route(open, look) {
  function arrive() {
    const place = placeAt(location.hash);
    const hash = location.hash || "#/";
    if (place.view !== "frame" && hash !== base) open(place);
    if (place.view !== "frame") base = hash;
    look(place.view === "frame" ? place.frames[0] : null);
  }
  addEventListener("hashchange", arrive);
  arrive();
}

/** Back to the view that a frame lies over, as it was. */
export function leaveFrame() {
  if (placeAt(location.hash).view === "frame") go(base);
}

/** @param {string} hash */
export function go(hash) {
  location.hash = hash;
}

/**
 * The same view under a new address, which tells what it shows by now.
 * @param {string} hash
 */
export function rename(hash) {
  base = hash;
  history.replaceState(null, "", hash);
}
