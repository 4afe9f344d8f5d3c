// Draw training curves as SVG lines: losses, and accuracies, with a colour for each phase. Dotted
// lines are measured in training, solid ones in validation.

import {h, svg} from "/static/dom.js";

const [WIDTH, HEIGHT] = [460, 240];
const [LEFT, RIGHT, TOP, BOTTOM] = [44, 10, 10, 30];
const WIDE = 300;  // as in report: beyond this ratio, losses have a logarithmic axis

/** Make the charts of /api/runs/RUN/curves. */
export function makeCurves({metric, losses, accuracies, phases}) {
  if (!phases.length) return h("p", {class: "quiet"}, "No epoch is finished yet.");
  const legend = h("ul", {class: "run-legend"}, phases.map(({name}, i) => h("li", {},
    h("span", {class: `run-swatch run-series-${i % 6}`}), name)),
  h("li", {class: "quiet"}, "dotted: training, solid: validation"));
  return [
    h("div", {class: "charts"},
      makeChart("loss", losses, phases, {scale: 1, unit: ""}),
      makeChart(metric, accuracies, phases, {scale: 100, unit: " %"})),
    legend,
  ];
}

function makeChart(title, names, phases, {scale, unit}) {
  const values = phases.flatMap((phase) => names.flatMap((name) => phase.values[name]))
    .filter(Number.isFinite).map((value) => scale * value);
  const positive = values.filter((value) => value > 0);
  const isLog = !unit && positive.length > 0 && Math.max(...positive) > WIDE * Math.min(...positive);
  const place = isLog ? Math.log10 : (value) => value;
  const high = unit ? 100 : Math.max(...values, 0), low = isLog ? Math.min(...positive) : 0;
  const last = Math.max(...phases.flatMap(({epochs}) => epochs));
  const x = (epoch) => LEFT + (WIDTH - LEFT - RIGHT) * (last > 1 ? (epoch - 1) / (last - 1) : 0.5);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM)
    * (place(Math.max(value, low)) - place(low)) / (place(high) - place(low) || 1);
  const chart = svg("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": describe(title, names, phases, scale, unit)});
  for (const tick of listTicks(low, high, isLog)) {
    chart.append(svg("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick)}),
      svg("text", {class: "tick", x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end"}, `${Number(tick.toPrecision(2))}${unit.trim()}`));
  }
  for (const epoch of [...new Set([1, Math.ceil(last / 2), last])]) {
    chart.append(svg("text", {class: "tick", x: x(epoch), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle"}, String(epoch)));
  }
  chart.append(svg("text", {class: "tick", x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 2, "text-anchor": "middle"}, "epoch"));
  phases.forEach((phase, i) => {
    for (const name of names) {
      const isTraining = name === "loss" || name.startsWith("train");
      const points = phase.epochs.map((epoch, k) => [epoch, scale * phase.values[name][k]])
        .filter(([, value]) => Number.isFinite(value)).map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`);
      chart.append(svg("polyline", {class: `line run-series-${i % 6}${isTraining ? " training" : ""}`, points: points.join(" ")},
        svg("title", {}, `${phase.name}, ${isTraining ? "training" : "validation"}`)));
    }
  });
  return h("figure", {}, h("figcaption", {}, unit ? `${title}, in percent` : title), chart);
}

function listTicks(low, high, isLog) {
  if (isLog) {
    const first = Math.ceil(Math.log10(low)), count = Math.floor(Math.log10(high)) - first + 1;
    return Array.from({length: Math.max(count, 0)}, (_, i) => 10 ** (first + i));
  }
  const rough = (high - low) / 4 || 1, size = 10 ** Math.floor(Math.log10(rough));
  const step = size * [1, 2, 5, 10].find((factor) => size * factor >= rough);
  return Array.from({length: Math.floor(high / step + 1e-9) + 1}, (_, i) => i * step);
}

function describe(title, names, phases, scale, unit) {
  const texts = phases.map(({name, values}) => {
    const series = values[names.at(-1)];
    return `${name} ends at ${(scale * series.at(-1)).toFixed(2)}${unit}`;
  });
  return `${title} by epoch: ${texts.join(", ")}`;
}
