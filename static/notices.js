// @ts-check
/**
 * What no card can show (a refused file, a model that does not load), until a person waves it away.
 */

/** More than these would push the pictures off the window; the log has all of them. */
const KEPT = 4;

/**
 * @param {HTMLElement} list  a live region, so that each notice is also read out
 * @returns {(text: string) => void}
 */
export function makeNotices(list) {
  return (text) => {
    const notice = document.createElement("p");
    const close = document.createElement("button");
    close.type = "button";
    close.textContent = "Dismiss";
    close.addEventListener("click", () => notice.remove());
    notice.append(text, close);
    list.prepend(notice);
    while (list.childElementCount > KEPT) list.lastElementChild?.remove();
  };
}
