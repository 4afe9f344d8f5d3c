// Draw flow as colours: two grey JPEGs become one picture, on the graphics card where there is one.
//
// A byte q of the store stands for (max(q, 1) - 128) / 127 · bound pixels, so each pair of bytes has
// one colour: a table of 256 × 256 colours, made here once for each view and scale, holds them all.
// It is the rule of flowkit/flow/color.py (the wheel of Baker et al., "A Database and Evaluation
// Methodology for Optical Flow"). WebGL2, or a 2-D canvas without it, only looks colours up.

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

/** Estimate a scale for a field: about the length that 1 % of its pixels exceed. */
export function estimateScale(flowX, flowY, bound) {
  const [x, y] = [readGrey(flowX, 64), readGrey(flowY, 64)];
  const lengths = Float32Array.from(
    x, (q, k) => Math.hypot(toPixels(q, bound), toPixels(y[k], bound))).sort();
  return roundScale(lengths[Math.floor(0.99 * (lengths.length - 1))]);
}

/** Read a grey picture: one byte for each pixel. `side` shrinks it to a square. */
export function readGrey(bitmap, side = null) {
  const [width, height] = side ? [side, side] : [bitmap.width, bitmap.height];
  const context = getReader(width, height);
  context.drawImage(bitmap, 0, 0, width, height);
  const {data} = context.getImageData(0, 0, width, height);
  const grey = new Uint8Array(width * height);
  for (let k = 0; k < grey.length; k++) grey[k] = data[4 * k];
  return grey;
}

/** Read the bytes of one pixel of each of some grey pictures. */
export function readPixel(bitmaps, x, y) {
  const context = getReader(bitmaps.length, 1);
  bitmaps.forEach((bitmap, k) => context.drawImage(bitmap, x, y, 1, 1, k, 0, 1, 1));
  const {data} = context.getImageData(0, 0, bitmaps.length, 1);
  return bitmaps.map((_, k) => data[4 * k]);
}

const readers = new Map();

function getReader(width, height) {
  const name = `${width}x${height}`;
  if (!readers.has(name)) {
    if (readers.size >= 4) readers.clear();
    const context = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
    context.imageSmoothingEnabled = false;
    readers.set(name, context);
  }
  return readers.get(name);
}

/**
 * A canvas that shows one flow field at a time. `canvas` may be moved about in the document, so one
 * view serves many places (a browser allows only about 16 WebGL canvases); `close()` frees it.
 */
export class FlowView {
  /** @param {{bound: number, scale?: number, view?: string, usesWebGL?: boolean}} options */
  constructor({bound, scale = bound, view = "colour", usesWebGL = true}) {
    Object.assign(this, {bound, scale, view});
    this.last = null;
    this.#makeCanvas(usesWebGL);
  }

  /** Choose what colours say; the field that is shown is drawn again. */
  setView({bound = this.bound, scale = this.scale, view = this.view}) {
    if (bound === this.bound && scale === this.scale && view === this.view) return;
    Object.assign(this, {bound, scale, view});
    this.painter.setTable(makeColourTable(view, bound, scale));
    if (this.last) this.draw(...this.last);
  }

  /** Draw a field from its two decoded JPEGs. */
  draw(flowX, flowY) {
    if (!flowX.width || !flowY.width) return;  // closed meanwhile
    this.last = [flowX, flowY];
    if (this.canvas.width !== flowX.width) this.canvas.width = flowX.width;
    if (this.canvas.height !== flowX.height) this.canvas.height = flowX.height;
    this.painter.draw(flowX, flowY);
  }

  /** Free the graphics card's memory. */
  close() {
    this.last = null;
    this.painter.close();
  }

  #makeCanvas(usesWebGL) {
    const old = this.canvas;
    this.canvas = document.createElement("canvas");
    if (old) {
      for (const {name, value} of old.attributes) this.canvas.setAttribute(name, value);
      old.replaceWith(this.canvas);
    }
    const context = usesWebGL && this.canvas.getContext("webgl2", {
      alpha: false, antialias: false, depth: false, preserveDrawingBuffer: true,
    });
    this.painter = context ? new CardPainter(context) : new CanvasPainter(this.canvas);
    this.painter.setTable(makeColourTable(this.view, this.bound, this.scale));
    // A card may be lost (sleep, a driver's crash): then the processor draws.
    this.canvas.addEventListener("webglcontextlost", () => {
      if (!this.painter.isClosed) this.#makeCanvas(false);
      if (this.last) this.draw(...this.last);
    }, {once: true});
  }
}

/** Looks colours up on the graphics card. */
class CardPainter {
  constructor(gl) {
    this.gl = gl;
    const program = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    gl.useProgram(program);
    gl.pixelStorei(gl.UNPACK_COLORSPACE_CONVERSION_WEBGL, gl.NONE);
    this.textures = ["flow_x", "flow_y", "colours"].map((name, unit) => {
      const texture = gl.createTexture();
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.bindTexture(gl.TEXTURE_2D, texture);
      for (const filter of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
        gl.texParameteri(gl.TEXTURE_2D, filter, gl.NEAREST);
      }
      for (const wrap of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) {
        gl.texParameteri(gl.TEXTURE_2D, wrap, gl.CLAMP_TO_EDGE);
      }
      gl.uniform1i(gl.getUniformLocation(program, name), unit);
      return texture;
    });
  }

  setTable(table) {
    const {gl} = this;
    gl.activeTexture(gl.TEXTURE2);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 256, 0, gl.RGBA, gl.UNSIGNED_BYTE, table);
  }

  draw(flowX, flowY) {
    const {gl} = this;
    gl.viewport(0, 0, flowX.width, flowX.height);
    [flowX, flowY].forEach((bitmap, unit) => {
      gl.activeTexture(gl.TEXTURE0 + unit);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, gl.RGBA, gl.UNSIGNED_BYTE, bitmap);
    });
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  close() {
    this.isClosed = true;
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}

const VERTEX = `#version 300 es
void main() {  // one triangle that covers the picture
  gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0);
}`;
const FRAGMENT = `#version 300 es
precision highp float;
uniform sampler2D flow_x, flow_y, colours;
out vec4 colour;
void main() {
  int height = textureSize(flow_x, 0).y;
  ivec2 place = ivec2(int(gl_FragCoord.x), height - 1 - int(gl_FragCoord.y));
  vec2 q = vec2(texelFetch(flow_x, place, 0).r, texelFetch(flow_y, place, 0).r);
  colour = texelFetch(colours, ivec2(q * 255.0 + 0.5), 0);
}`;

/** Looks colours up on the processor. */
class CanvasPainter {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
  }

  setTable(table) {
    this.table = new Uint32Array(table.buffer);
  }

  draw(flowX, flowY) {
    const [x, y] = [readGrey(flowX), readGrey(flowY)];
    const picture = this.context.createImageData(flowX.width, flowX.height);
    const pixels = new Uint32Array(picture.data.buffer);
    for (let k = 0; k < pixels.length; k++) pixels[k] = this.table[256 * y[k] + x[k]];
    this.context.putImageData(picture, 0, 0);
  }

  close() {
    this.isClosed = true;
  }
}
