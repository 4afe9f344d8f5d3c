// The colours of flow: the rule of flowkit/flow/color.py, and three other views of a field.
//
// The wheel is that of Baker et al., "A Database and Evaluation Methodology for Optical Flow": no
// motion is white, the direction is the hue, and longer than the scale is darker. The views of x, y
// and the length use colours that colour-blind people tell apart as well.

const ARCS = [
  [[255, 0, 0], 15], [[255, 255, 0], 6], [[0, 255, 0], 4],
  [[0, 255, 255], 11], [[0, 0, 255], 13], [[255, 0, 255], 6],
];
// Colours that also colour-blind people tell apart: negative, zero, positive.
const DIVERGING = [[0, 68, 136], [110, 166, 205], [255, 255, 255], [244, 166, 70], [153, 62, 0]];
const SEQUENTIAL = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const SCALES = [0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100];

/** The views of flow: what the colour of a pixel says. */
export const FLOW_VIEWS = {
  colour: "Direction and length", x: "x (to the right)", y: "y (down)", magnitude: "Length",
};

/** Convert a byte of the store to a displacement in pixels. */
export function toPixels(q, bound) {
  return (Math.max(q, 1) - 128) / 127 * bound;
}

/** Return the smallest handy scale in pixels that is not below a length. */
export function roundScale(pixels) {
  return SCALES.find((scale) => scale >= pixels) ?? SCALES.at(-1);
}

/** Make the colour wheel: 55 colours of 0–255, from motion to the right on, clockwise. */
export function makeColourWheel() {
  return ARCS.flatMap(([hue, count], arc) => {
    const next = ARCS[(arc + 1) % ARCS.length][0];
    return Array.from({length: count}, (_, k) => {
      const blend = Math.floor(255 * k / count) / 255;
      return hue.map((value, c) => (1 - blend) * value + blend * next[c]);
    });
  });
}

const WHEEL = makeColourWheel();

/**
 * Return the colour of a displacement.
 * @param {number} x Displacement in units of the scale.
 * @param {number} y
 * @param {string} view One of FLOW_VIEWS.
 * @returns {number[]} red, green, blue, 0–255.
 */
export function flowToColour(x, y, view = "colour") {
  if (view === "x" || view === "y") return blendStops(DIVERGING, ((view === "x" ? x : y) + 1) / 2);
  const radius = Math.hypot(x, y);
  if (view === "magnitude") return blendStops(SEQUENTIAL, radius);
  const turn = Math.atan2(y, x) / (2 * Math.PI);
  const position = (turn < 0 ? turn + 1 : turn) * WHEEL.length;
  const index = Math.floor(position), blend = position - index;
  const [low, high] = [WHEEL[index % WHEEL.length], WHEEL[(index + 1) % WHEEL.length]];
  return low.map((value, c) => {
    const hue = ((1 - blend) * value + blend * high[c]) / 255;
    return Math.floor(255 * (radius <= 1 ? 1 - radius * (1 - hue) : 0.75 * hue));
  });
}

function blendStops(stops, at) {
  const position = Math.max(0, Math.min(1, at)) * (stops.length - 1);
  const index = Math.min(Math.floor(position), stops.length - 2), blend = position - index;
  return stops[index].map((low, c) => Math.round((1 - blend) * low + blend * stops[index + 1][c]));
}

/** Make the colours of all pairs of bytes: RGBA, row q of y, column q of x. */
export function makeColourTable(view, bound, scale) {
  const table = new Uint8Array(256 * 256 * 4).fill(255);
  const units = Array.from({length: 256}, (_, q) => toPixels(q, bound) / scale);
  for (let y = 0, at = 0; y < 256; y++) {
    for (let x = 0; x < 256; x++, at += 4) table.set(flowToColour(units[x], units[y], view), at);
  }
  return table;
}
