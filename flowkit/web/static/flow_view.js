// Draw flow as colours: two grey JPEGs become one picture, on the graphics card where there is one.
//
// A byte q of the store stands for (max(q, 1) - 128) / 127 · bound pixels, so each pair of bytes has
// one colour: a table of 256 × 256 colours (flow_colours.js), made once for each view and scale,
// holds them all. WebGL2, or a 2-D canvas without it, only looks colours up.

import {makeColourTable, roundScale, toPixels} from "./flow_colours.js";

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
