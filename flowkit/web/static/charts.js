// Draw bar charts and histograms as SVG. Every bar has a title, and most lead to its videos.

import {h, svg} from "./dom.js";
import {formatCount, formatNoun, formatNumber} from "./format.js";
import {go} from "./main.js";

const WIDTH = 320;
const HEIGHT = 96;
const BASE = HEIGHT - 18;

/**
 * A bar of a chart: its name, the lengths of its parts, and where it leads.
 * @typedef {{name: string, parts: number[], href: ?string}} Bar
 */

/**
 * Draw horizontal bars, one in each row, as a list.
 * @param {Bar[]} bars
 * @param {{max: number, series?: string[], label: string}} options `max` is the length of a full
 *   bar, `series` the names of the parts, `label` says what the list shows.
 */
export function drawBars(bars, {max, series = [], label}) {
  const list = h("ul", {class: "bars", "aria-label": label},
    bars.map((bar) => drawBar(bar, max, series)));
  list.style.setProperty("--count-width", `${formatCount(max).length + 0.5}ch`);
  return list;
}

function drawBar({name, parts, href, total = sum(parts)}, max, series) {
  let left = 0;
  // Videos may be in several subsets: then the parts are longer than the whole.
  const scale = 1000 / Math.max(max, sum(parts), 1);
  const named = parts.map((part, k) => series[k] && `${series[k]} ${formatCount(part)}`);
  const title = [`${name}: ${formatNoun(total, "video")}`, named.filter(Boolean).join(", ")]
    .filter(Boolean).join(" · ");
  const picture = svg("svg", {
    viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true",
  }, parts.map((part, k) => {
    const rect = svg("rect", {
      x: left * scale, width: part * scale, height: 10, class: `series-${k % 8}`,
    });
    left += part;
    return rect;
  }));
  const row = [
    h("span", {class: "bar-name"}, name), picture,
    h("span", {class: "bar-count"}, formatCount(total)),
  ];
  return h("li", {}, href ? h("a", {href, title, "aria-label": title}, row) :
    h("span", {class: "bar", title}, row));
}

/** Draw a legend of the parts of bars. */
export function drawLegend(series) {
  return h("p", {class: "legend"}, series.map((name, k) => h("span", {},
    svg("svg", {viewBox: "0 0 10 10", "aria-hidden": "true"},
      svg("rect", {width: 10, height: 10, class: `series-${k % 8}`})), name)));
}

/**
 * Draw a histogram. Its bars are links: the arrow keys move between them.
 * @param {{edges: number[], counts: number[]}} histogram
 * @param {{label: string, unit: string, link: (low: number, high: ?number) => string}} options
 *   `link` returns where a bar leads; `high` is null for the last bar, which has no upper edge.
 */
export function drawHistogram({edges, counts}, {label, unit, link}) {
  const most = Math.max(...counts, 1), step = WIDTH / counts.length;
  const bars = counts.map((count, k) => {
    const isLast = k === counts.length - 1;
    const range = isLast ? `${formatNumber(edges[k])} ${unit} and more` :
      `${formatNumber(edges[k])} to ${formatNumber(edges[k + 1])} ${unit}`;
    const title = `${range}: ${formatNoun(count, "video")}`;
    const height = count ? Math.max(1.5, (BASE - 4) * count / most) : 0;
    const href = link(edges[k], isLast ? null : edges[k + 1]);
    return svg("a", {href, tabindex: -1, "aria-label": title, onclick: follow},
      svg("title", {}, title),
      svg("rect", {class: "touch", x: k * step, width: step, height: BASE}),
      svg("rect", {class: "series-0", x: k * step + 0.5, y: BASE - height,
        width: Math.max(0.5, step - 1), height}));
  });
  bars.find((_, k) => counts[k])?.setAttribute("tabindex", 0);
  return svg("svg", {
    class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "group", "aria-label": label,
    onkeydown: (event) => moveFocus(event, bars),
  }, bars, svg("path", {class: "axis", d: `M0 ${BASE + 0.5}H${WIDTH}`}), drawTicks(edges, unit));
}

function drawTicks(edges, unit) {
  const last = edges.length - 1;
  // The last bar has all above its lower edge, so its right edge is no place on the axis.
  return [[0, "start"], [Math.round(last / 2), "middle"], [last - 1, "end"]]
    .filter(([k], place) => place === 0 || k > 0)
    .map(([k, anchor], place) => svg("text", {
      x: place === 0 ? 0 : place === 2 ? WIDTH : k * WIDTH / last, y: HEIGHT - 4,
      "text-anchor": anchor,
    }, `${place === 2 ? "≥ " : ""}${formatNumber(edges[k])}${place === 0 ? ` ${unit}` : ""}`));
}

function follow(event) {
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(event.currentTarget.getAttribute("href"));
}

function moveFocus(event, bars) {
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  const at = bars.indexOf(document.activeElement);
  if (!step || at < 0 || !bars[at + step]) return;
  event.preventDefault();
  bars[at].setAttribute("tabindex", -1);
  bars[at + step].setAttribute("tabindex", 0);
  bars[at + step].focus();
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}
