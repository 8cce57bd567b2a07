// @ts-check
/**
 * Texts and elements. Texts on the page change only when they differ: writing an equal text again would
 * end a person's selection of it and have a screen reader say it twice. Whatever a prompt says goes in as
 * text, never as HTML.
 */

/**
 * The element of this id, which `index.html` has.
 * @param {string} id
 * @returns {any}
 */
export const byId = (id) => document.getElementById(id);

/**
 * @param {Element} element
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
    write(item, text);
  });
}

/**
 * A new element. Properties are set as such, `data-…` and `aria-…` as attributes.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Record<string, unknown>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(...children);
  return element;
}

/**
 * A button that does one thing at a time: pressed again while that is under way, it waits.
 * @param {HTMLElement} button
 * @param {() => Promise<void>} act
 */
export function onPress(button, act) {
  button.addEventListener("click", async () => {
    if (button.getAttribute("aria-disabled") === "true") return;
    button.setAttribute("aria-disabled", "true");
    await act();
    button.removeAttribute("aria-disabled");
  });
}
