// Draw flow as arrows, on a canvas that lies over the RGB picture.

import {toPixels} from "./flow_colours.js";
import {readGrey} from "./flow_view.js";

const SPACING = 22;
const SHORTEST = 0.06;
/** Pixels of the screen of an arrow as long as the scale. */
export const ARROW_PIXELS = 1.6 * SPACING;

/**
 * Draw an arrow from the middle of each cell of a grid. An arrow of the scale is 1.6 cells long, and
 * longer ones are cut to 2.4, so that arrows of neighbours stay apart.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./frames.js").Frame} frame
 * @param {HTMLElement} stage Box that the canvas fills.
 * @param {{bound: number, scale: number}} options
 */
export function drawArrows(canvas, frame, stage, {bound, scale}) {
  const density = window.devicePixelRatio || 1;
  const {clientWidth: width, clientHeight: height} = stage;
  canvas.width = Math.max(1, Math.round(width * density));
  canvas.height = Math.max(1, Math.round(height * density));
  const context = canvas.getContext("2d");
  context.scale(density, density);
  if (!frame.flow_x?.width || !frame.flow_y?.width) return;
  const arrows = listArrows(frame, width, height, bound, scale);
  context.lineCap = context.lineJoin = "round";
  for (const [colour, thickness] of [["#000", 3.6], ["#ffe14d", 1.7]]) {
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.beginPath();
    for (const arrow of arrows) traceArrow(context, ...arrow);
    context.stroke();
  }
}

function listArrows(frame, width, height, bound, scale) {
  const {width: columns, height: rows} = frame.flow_x;
  const [flowX, flowY] = [readGrey(frame.flow_x), readGrey(frame.flow_y)];
  const arrows = [];
  for (let y = SPACING / 2; y < height; y += SPACING) {
    for (let x = SPACING / 2; x < width; x += SPACING) {
      const at = Math.floor(y / height * rows) * columns + Math.floor(x / width * columns);
      const [dx, dy] = [toPixels(flowX[at], bound) / scale, toPixels(flowY[at], bound) / scale];
      const length = Math.hypot(dx, dy);
      if (length < SHORTEST) continue;
      const drawn = Math.min(ARROW_PIXELS * length, 2.4 * SPACING) / length;
      arrows.push([x, y, x + drawn * dx, y + drawn * dy]);
    }
  }
  return arrows;
}

function traceArrow(context, x, y, toX, toY) {
  const angle = Math.atan2(toY - y, toX - x);
  const head = Math.min(6, 2 + Math.hypot(toX - x, toY - y) / 3);
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  for (const side of [2.6, -2.6]) {
    context.moveTo(toX, toY);
    context.lineTo(toX + head * Math.cos(angle + side), toY + head * Math.sin(angle + side));
  }
}
