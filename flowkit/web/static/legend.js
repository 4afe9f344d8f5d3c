// Draw what the colours of flow mean: the wheel, or a bar, with its scale in pixels.

import {ARROW_PIXELS} from "./arrows.js";
import {flowToColour} from "./flow_colours.js";
import {h, svg} from "./dom.js";

const SIDE = 112;
const BAR = [220, 14];
const ARROW = `M2 6.5h${ARROW_PIXELS}m-5-3.2 5 3.2-5 3.2`;

/**
 * Make a legend.
 * @param {string} view One of FLOW_VIEWS, or "arrows".
 * @param {number} scale Pixels of the full colour, or of the arrow of the legend.
 * @returns {HTMLElement}
 */
export function makeLegend(view, scale) {
  const pixels = `${formatScale(scale)} px`;
  if (view === "arrows") {
    return h("div", {class: "flow-legend", role: "img", "aria-label": `The arrow of the legend is ${pixels} long`},
      svg("svg", {class: "flow-legend-arrow", width: ARROW_PIXELS + 5, height: 13, "aria-hidden": "true"},
        ["under", "over"].map((name) => svg("path", {class: name, d: ARROW}))),
      h("span", {}, pixels));
  }
  if (view === "colour") {
    const description = "Colour wheel: right is red, down is yellow, left is cyan, up is violet; "
      + `white is no motion, full colour is ${pixels}, and longer is darker`;
    return h("div", {class: "flow-legend flow-legend-wheel", role: "img", "aria-label": description, title: description},
      drawWheel(), h("span", {}, pixels));
  }
  const low = view === "magnitude" ? "0" : `−${formatScale(scale)}`;
  return h("div", {class: "flow-legend", role: "img", "aria-label": `Colours from ${low} to ${pixels}`},
    h("span", {}, low), drawBar(view), h("span", {}, pixels));
}

/** Write a scale without needless digits. */
export function formatScale(scale) {
  return String(Number(scale.toPrecision(3)));
}

function drawWheel() {
  return drawPixels(SIDE, SIDE, (column, row) => {
    const [x, y] = [(column + 0.5) / SIDE * 2 - 1, (row + 0.5) / SIDE * 2 - 1];
    return Math.hypot(x, y) <= 1 ? [...flowToColour(x, y), 255] : [0, 0, 0, 0];
  });
}

function drawBar(view) {
  return drawPixels(...BAR, (column) => {
    const at = (column + 0.5) / BAR[0];
    return [...(view === "magnitude" ? flowToColour(at, 0, view)
      : flowToColour(2 * at - 1, 2 * at - 1, view)), 255];
  });
}

function drawPixels(width, height, colourAt) {
  const canvas = h("canvas", {width, height, "aria-hidden": "true"});
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let row = 0, at = 0; row < height; row++) {
    for (let column = 0; column < width; column++, at += 4) picture.data.set(colourAt(column, row), at);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
