// Small parts that the pages of runs share: numbers, tables, thumbnails, choices, error tiles.

import {h} from "/static/dom.js";

/** Write a share of 0 to 1 in percent, with as many digits as tell it from 0 and 1. */
export function formatPercent(share) {
  const percent = 100 * share;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  if (percent > 99.9 && percent < 100) return "> 99.9 %";
  return `${percent.toFixed(1)} %`;
}

/** Make a table of rows of texts, the header first, and its caption. The first column names a row. */
export function makeTable(rows, caption = "") {
  const [head, ...body] = rows;
  return [caption ? h("p", {class: "quiet caption"}, caption) : null, h("div", {class: "run-scroll"}, h("table", {class: "run-table", "aria-label": caption || null},
    h("thead", {}, h("tr", {}, head.map((text) => h("th", {scope: "col"}, text)))),
    h("tbody", {}, body.map(([first, ...rest]) => h("tr", {},
      h("th", {scope: "row"}, first), rest.map((cell) => h("td", {}, cell)))))))];
}

/**
 * Make a labelled choice.
 * @param {string} title
 * @param {[string, string][]} options Values and their texts.
 * @param {string} value The value that is chosen.
 * @param {(value: string) => void} change Called with the new value.
 */
export function makeChoice(title, options, value, change) {
  const select = h("select", {onchange: () => change(select.value)},
    options.map(([key, text]) => h("option", {value: key, selected: key === value}, text)));
  return h("label", {class: "choice"}, h("span", {}, title), select);
}

/** Make the thumbnail of a video, a link to its page if the store has it. */
export function makeThumbnail({id, key, frame}, ...below) {
  const picture = frame === null || key === null
    ? h("span", {class: "thumbnail none"}, key === null ? "not in this store" : "no picture")
    : h("img", {class: "thumbnail", loading: "lazy", alt: "", src: `/image/${key}/rgb/${frame}.jpg`,
      onerror: (event) => event.target.replaceWith(h("span", {class: "thumbnail none"}, "damaged"))});
  const content = [picture, h("span", {class: "id"}, id), ...below];
  return key === null ? h("div", {class: "tile-video"}, content)
    : h("a", {class: "tile-video", href: `/video/${key}`}, content);
}

/** Fill a box with what `load` makes of it; with an error's words if it fails. */
export async function fillBox(box, signal, load) {
  box.replaceChildren(h("p", {class: "quiet", role: "status"}, "Loading …"));
  try {
    const content = await load();
    if (!signal.aborted) box.replaceChildren(...[content].flat(Infinity).filter((part) => part));
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    box.replaceChildren(h("p", {class: "quiet", role: "status"}, error.message));
  }
}

/** Make a section with a heading and a box to fill. */
export function makeSection(title, ...content) {
  return h("section", {class: "panel", "aria-label": title}, h("h2", {}, title), content);
}
