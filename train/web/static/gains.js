// Draw the classes that gained or lost between two runs as bars to the right and to the left.

import {h} from "/static/dom.js";
import {formatPercent} from "./parts.js";

/** Make the bars of /api/runs/RUN/gains; `name` is the name of the other run. */
export function makeGains({summary, classes, scores}, name) {
  const about = h("p", {class: "quiet"}, `${summary} (${scores[0]} here, ${scores[1]} of ${name})`);
  if (!classes.length) return [about, h("p", {}, "No class changed.")];
  const largest = Math.max(...classes.map(({gain}) => Math.abs(gain)));
  const rows = classes.map(({name: label, gain, ours, theirs}) => {
    const bar = h("span", {class: gain > 0 ? "gain-bar gained" : "gain-bar lost"});
    bar.style.width = `${50 * Math.abs(gain) / largest}%`;
    const text = `${gain > 0 ? "+" : "−"}${Math.abs(gain).toFixed(1)}`;
    return h("tr", {},
      h("th", {scope: "row"}, label),
      h("td", {class: "gain-bars", "aria-hidden": "true"}, bar),
      h("td", {class: "number"}, text),
      h("td", {class: "number quiet"}, `${formatPercent(theirs)} → ${formatPercent(ours)}`));
  });
  return [about, h("div", {class: "run-scroll"}, h("table", {class: "run-table gains"},
    h("thead", {}, h("tr", {}, ["class", "", "points", "accuracy"].map((text) => h("th", {scope: "col"}, text)))),
    h("tbody", {}, rows)))];
}
