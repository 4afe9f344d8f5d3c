// Ask attention over feature sets (clusters, CATNet): the weight of every unit over the features of
// the video, each with its frame. A click on a feature shows its frame in the player.

import {getJSON, query as makeQuery} from "/static/api.js";
import {h} from "/static/dom.js";
import {colourOf} from "./heat.js";
import {formatPercent} from "./parts.js";

/** Fill the box with a table of weights for each modality. */
export async function showSets(box, {path, phase, video, player}, signal) {
  const {modalities} = await getJSON(`${path}/sets${makeQuery({phase})}`, signal);
  if (signal.aborted) return;
  const reading = h("p", {class: "reading", role: "status"}, "Brighter: a higher weight. Click a feature to see its frame in the player.");
  box.replaceChildren(...modalities.map((modality) => makeModality(modality, video, player, reading)), reading);
}

function makeModality({name, features, frames, weights, relations}, video, player, reading) {
  const largest = Math.max(...weights.flat()) || 1;
  const count = weights[0].length;
  const totals = Array.from({length: count}, (_, i) => weights.reduce((sum, line) => sum + line[i], 0) / weights.length);
  const order = [...totals.keys()].sort((a, b) => totals[b] - totals[a]);
  const heads = totals.map((total, i) => h("th", {scope: "col"}, h("button", {
    type: "button", disabled: !frames.length, title: `feature ${i + 1}: ${formatPercent(total)} of all weights`,
    onclick: () => player.seek(frames[i]),
  }, frames.length ? h("img", {src: `/image/${video.key}/rgb/${frames[i]}.jpg`, alt: `frame ${frames[i]}`, loading: "lazy"}) : String(i + 1))));
  const rows = weights.map((line, unit) => h("tr", {},
    h("th", {scope: "row"}, `unit ${unit + 1}`, relations ? h("span", {class: "quiet"}, ` β ${relations[unit].toFixed(2)}`) : null),
    line.map((weight, i) => {
      const cell = h("td", {title: `unit ${unit + 1}, feature ${i + 1}: ${formatPercent(weight)}`});
      cell.style.background = `rgb(${colourOf(weight / largest).join(" ")})`;
      cell.addEventListener("pointerenter", () => {
        reading.textContent = `Unit ${unit + 1}, feature ${i + 1}${frames.length ? ` (frame ${frames[i]})` : ""}: ${formatPercent(weight)}`;
      });
      return cell;
    })));
  const sum = h("tr", {class: "sum"}, h("th", {scope: "row"}, "all units"), totals.map((total) => h("td", {}, (100 * total).toFixed(total < 0.0995 ? 1 : 0))));
  return h("section", {"aria-label": name}, h("h3", {}, `${name} (features/${features})`),
    h("div", {class: "run-scroll"}, h("table", {class: "weights"},
      h("thead", {}, h("tr", {}, h("td"), heads)), h("tbody", {}, rows, sum))),
    h("p", {class: "quiet"}, `Most weight: features ${order.slice(0, 3).map((i) => i + 1).join(", ")} (percent of all weights in the last row).`));
}
