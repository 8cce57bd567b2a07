// @ts-check
/**
 * A picture appears only once it is whole and decoded, and never gives way to an older one.
 *
 * Each sheet fetches one picture at a time; of those that come meanwhile only the newest is wanted. The
 * new picture is laid over the last one, which stays beneath it, so no moment is blank. A picture that
 * cannot be had (410: a later step has overwritten it) leaves what was there. URLs are immutable, hence
 * the log's epoch in them: frame 7 of another log must not come out of the browser's cache.
 *
 * @typedef {import("./fold.js").Frame} Frame
 * @typedef {{ url: string, kind: "preview" | "final", step: number, rank: number, alt: string }} Picture
 * @typedef {(picture: Picture | null, backwards?: boolean) => void} Develop  `backwards`: an older one may come, or none
 */

/** More than any frame has steps: a later attempt outranks every step of the one before. */
const STEPS = 1e6;
/** Milliseconds of a fade, at most; it never takes more than half the time that a step does. */
const FADE = 180;

/**
 * With the log's epoch, by which a picture's address is its own for ever.
 * @param {string} url
 * @param {string} epoch
 */
export const ofLog = (url, epoch) => `${url}${url.includes("?") ? "&" : "?"}log=${encodeURIComponent(epoch)}`;

/**
 * @param {Frame} frame
 * @param {string} epoch
 */
export const finalUrl = ({ id }, epoch) => ofLog(`/frames/${id}/final`, epoch);

/**
 * The newest picture that the daemon has of a frame.
 * @param {Frame} frame
 * @param {string} epoch
 * @returns {Picture | null}
 */
export function newestPicture(frame, epoch) {
  const { id, step, attempt } = frame;
  if (frame.status === "done" || (frame.status === "cancelled" && frame.path !== null)) {
    if (frame.path === null) return null; // deleted since, or missing
    return { url: finalUrl(frame, epoch), kind: "final", step, rank: Infinity, alt: frame.prompt };
  }
  if (frame.preview === null || step === 0) return null;
  const url = ofLog(`/frames/${id}/preview?step=${step}`, epoch);
  return { url, kind: "preview", step, rank: attempt * STEPS + step, alt: `${frame.prompt}, after step ${step}` };
}

/**
 * Show pictures on a sheet: returns the function that takes each newer one.
 * @param {HTMLElement} sheet
 * @returns {Develop}
 */
export function developOn(sheet) {
  let shown = 0;
  let laidAt = -Infinity;
  let busy = false;
  let turns = 0;
  /** @type {Picture | null} */
  let wanted = null;

  async function work() {
    busy = true;
    while (wanted) {
      const [picture, turn] = [wanted, turns];
      wanted = null;
      if (picture.rank <= shown || !(await lay(sheet, picture, laidAt, () => turn === turns))) continue;
      if (turn !== turns) continue; // it lies there, but from now on older ones may follow
      shown = picture.rank;
      laidAt = performance.now();
    }
    busy = false;
  }

  return (picture, backwards = false) => {
    if (backwards && (busy || shown !== (picture?.rank ?? 0))) { // what is on its way is another moment's
      if (!picture) clear(sheet);
      wanted = null;
      shown = 0;
      turns += 1;
    }
    if (!picture || picture.rank <= shown) return;
    wanted = picture;
    if (!busy) work();
  };
}

/** @param {HTMLElement} sheet */
function clear(sheet) {
  for (const image of sheet.querySelectorAll(".picture, .beneath")) {
    image.remove();
    image.dispatchEvent(new Event("error")); // one that was still to load will not
  }
}

/**
 * @param {HTMLElement} sheet
 * @param {Picture} picture
 * @param {number} laidAt  when the last one was
 * @param {() => boolean} isWanted  whether it still is, once it has come
 * @returns {Promise<boolean>} whether it lies there
 */
async function lay(sheet, picture, laidAt, isWanted) {
  const image = new Image();
  image.className = "picture";
  image.alt = picture.alt;
  image.dataset.kind = picture.kind;
  image.dataset.step = String(picture.step);
  if (picture.kind === "final" && !sheet.querySelector(".picture")) return layFirst(sheet, image, picture.url);
  image.src = picture.url;
  try {
    await image.decode();
  } catch {
    return false;
  }
  if (!isWanted()) return false;
  swap(sheet, image, Math.min(FADE, (performance.now() - laidAt) / 2));
  return true;
}

/**
 * A finished picture on an empty sheet has nothing to flicker over: the browser fetches it once the
 * card comes near the window, so that not all finished pictures load at once.
 * @param {HTMLElement} sheet
 * @param {HTMLImageElement} image
 * @param {string} url
 * @returns {Promise<boolean>}
 */
function layFirst(sheet, image, url) {
  image.loading = "lazy";
  image.decoding = "async";
  sheet.append(image);
  return new Promise((resolve) => {
    image.addEventListener("load", () => resolve(true));
    image.addEventListener("error", () => {
      image.remove();
      resolve(false);
    });
    image.src = url;
  });
}

/**
 * @param {HTMLElement} sheet
 * @param {HTMLImageElement} image
 * @param {number} fade  milliseconds
 */
function swap(sheet, image, fade) {
  sheet.querySelector(".beneath")?.remove();
  const last = sheet.querySelector(".picture");
  if (last instanceof HTMLImageElement) {
    // Half faded in, it would let the bare sheet show through once it lies beneath.
    for (const fading of last.getAnimations()) fading.finish();
    last.className = "beneath";
    last.alt = "";
  }
  // How many pixels the enlargement has to smooth over; see .picture in wall.css.
  image.style.setProperty("--across", String(image.naturalWidth));
  sheet.append(image);
  // Half there at once: a fade from nothing would hide for its first display frames what has come.
  if (!isStill()) image.animate({ opacity: [0.5, 1] }, fade);
}

/** Whether the person asked for no motion. */
export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
