// @ts-check
/**
 * Texts on the page change only when they differ: writing an equal text again would end a person's
 * selection of it and have a screen reader say it twice.
 */

/**
 * @param {HTMLElement} element
 * @param {string} text
 */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {HTMLElement} list
 * @param {string[]} texts  one item each
 */
export function writeItems(list, texts) {
  while (list.childElementCount > texts.length) list.lastElementChild?.remove();
  texts.forEach((text, index) => {
    const item = list.children[index] ?? list.appendChild(document.createElement("li"));
    write(/** @type {HTMLElement} */ (item), text);
  });
}
