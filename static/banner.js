// @ts-check
/**
 * What is said while the daemon does not answer: that it does not, and how old all of this is by now.
 */
import { clock, durationText } from "./words.js";
import { write } from "./write.js";

/**
 * @param {HTMLElement} banner  an alert, so that it is also read out; its age is not, each second
 */
export function makeBanner(banner) {
  const [text, age] = /** @type {HTMLElement[]} */ ([...banner.children]);
  /** @type {ReturnType<typeof setInterval> | undefined} */
  let ticking;

  /**
   * @param {Date} since
   * @param {boolean} known  whether there is anything to show from before
   */
  function show(since, known) {
    clearInterval(ticking);
    const tick = () => write(age, known ? ` ${durationText((Date.now() - since.getTime()) / 1000)} old.` : "");
    banner.hidden = false;
    write(text, `Safelight is not answering; the page reconnects by itself. ${known ? `What you see was so at ${clock(since)},` : "Nothing is known yet."}`);
    tick();
    ticking = setInterval(tick, 1000);
    document.body.classList.add("dark-lamp");
  }

  function hide() {
    clearInterval(ticking);
    banner.hidden = true;
    document.body.classList.remove("dark-lamp");
  }

  return { show, hide };
}
