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
 */

/** More than any frame has steps: a later attempt outranks every step of the one before. */
const STEPS = 1e6;
/** Milliseconds of a fade, at most; it never takes more than half the time that a step does. */
const FADE = 180;

/**
 * @param {Frame} frame
 * @param {string} epoch
 */
export const finalUrl = ({ id }, epoch) => `/frames/${id}/final?log=${encodeURIComponent(epoch)}`;

/**
 * The newest picture that the daemon has of a frame.
 * @param {Frame} frame
 * @param {string} epoch
 * @returns {Picture | null}
 */
export function newestPicture(frame, epoch) {
  const { id, step, attempt } = frame;
  if (frame.status === "done") {
    if (frame.path === null) return null; // deleted since, or missing
    const url = finalUrl(frame, epoch);
    return { url, kind: "final", step, rank: Infinity, alt: frame.prompt };
  }
  if (frame.preview === null || step === 0) return null;
  const url = `/frames/${id}/preview?step=${step}&log=${encodeURIComponent(epoch)}`;
  return { url, kind: "preview", step, rank: attempt * STEPS + step, alt: `${frame.prompt}, after step ${step}` };
}

/**
 * Show pictures on a sheet: returns the function that takes each newer one.
 * @param {HTMLElement} sheet
 * @returns {(picture: Picture | null) => void}
 */
export function developOn(sheet) {
  let shown = 0;
  let laidAt = -Infinity;
  let busy = false;
  /** @type {Picture | null} */
  let wanted = null;

  async function work() {
    busy = true;
    while (wanted) {
      const picture = wanted;
      wanted = null;
      if (picture.rank <= shown || !(await lay(sheet, picture, laidAt))) continue;
      shown = picture.rank;
      laidAt = performance.now();
    }
    busy = false;
  }

  return (picture) => {
    if (!picture || picture.rank <= shown) return;
    wanted = picture;
    if (!busy) work();
  };
}

/**
 * @param {HTMLElement} sheet
 * @param {Picture} picture
 * @param {number} laidAt  when the last one was
 * @returns {Promise<boolean>} whether it could be had
 */
async function lay(sheet, picture, laidAt) {
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
  swap(sheet, image, Math.min(FADE, (performance.now() - laidAt) / 2));
  return true;
}

/**
 * A finished picture on an empty sheet has nothing to flicker over: the browser fetches it once the
 * card comes near the window, so two hundred finished pictures do not all load at once.
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
  // How many pixels the enlargement has to smooth over; see .picture in viewer.css.
  image.style.setProperty("--across", String(image.naturalWidth));
  sheet.append(image);
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) image.animate({ opacity: [0, 1] }, fade);
}
