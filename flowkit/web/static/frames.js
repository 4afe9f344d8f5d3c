// Load the frames of one video ahead of a player, and decode them.
//
// Two bounded caches: bundles of JPEGs as the server sends them (small, kept longer, so that a loop
// of a short video asks the server once), and decoded frames (large, only those around the
// position). A part that the frame does not have, or whose JPEG is damaged, is null; a bundle that
// cannot be read gives frames with all parts null and the reason in `error`.

import {getBytes, query} from "./api.js";

const BUNDLE_BYTES = 96e6;
const DECODED_BYTES = 128e6;
const RETRY_MS = 3000;
const AHEAD = 24;
const MAX_REQUESTS = 2;
// Values of flow must arrive as they are stored.
const AS_STORED = {colorSpaceConversion: "none", premultiplyAlpha: "none"};

/**
 * One decoded frame.
 * @typedef {{t: number, rgb: ?Picture, flow_x: ?Picture, flow_y: ?Picture, error: ?string}} Frame
 * @typedef {ImageBitmap|VideoFrame} Picture
 */

/** The frames of one video. Everything stops when `signal` aborts, or after `close()`. */
export class FrameLoader {
  /**
   * @param {string} key Key of the video.
   * @param {{frames: number, width: number, height: number}} video Its facts.
   * @param {{parts?: string[], signal?: AbortSignal}} options Parts to load, of rgb, flow_x, flow_y.
   */
  constructor(key, video, {parts = ["rgb", "flow_x", "flow_y"], signal} = {}) {
    this.key = key;
    this.count = video.frames;
    this.parts = parts;
    const pixels = Math.max(1, video.width * video.height);
    this.bundleSize = Math.max(1, Math.min(16, Math.floor(3e6 / pixels)));
    this.capacity = Math.max(4, Math.min(64, Math.floor(DECODED_BYTES / (4 * pixels * parts.length))));
    this.ahead = Math.min(AHEAD, this.capacity - 2);
    /** Called whenever a frame has been decoded. */
    this.onload = () => {};
    this.bundles = new Map();  // number of a bundle: {promise, content?, bytes, failed?}
    this.decoded = new Map();  // t: Frame or a promise of it, least recently used first
    this.stop = new AbortController();
    this.requests = 0;
    /** Frame that is on the screen, whose pictures are kept. */
    this.shown = null;
    this.position = 0;
    signal?.addEventListener("abort", () => this.close(), {once: true, signal: this.stop.signal});
  }

  /** Return frame t if it is decoded, or null. */
  peek(t) {
    const frame = this.decoded.get(t);
    return frame && !(frame instanceof Promise) ? frame : null;
  }

  /** Load and decode frame t. @returns {Promise<Frame>} rejected only when loading was stopped. */
  async load(t) {
    const known = this.decoded.get(t);
    if (known) {
      this.decoded.delete(t);
      this.decoded.set(t, known);
      return known;
    }
    const promise = this.#decode(t);
    this.decoded.set(t, promise);
    promise.catch(() => this.decoded.delete(t));
    return promise;
  }

  /**
   * Load ahead of position t: frames t, t + stride, … wrapping at `end` to `start` in a loop.
   * @param {number} t
   * @param {{stride?: number, loop?: boolean}} options
   */
  aim(t, {stride = 1, loop = false} = {}) {
    if (this.stop.signal.aborted) return;
    this.position = t;
    for (let k = 0, next = t; k < this.ahead && k < this.count; k++, next += stride) {
      if (next >= this.count && !loop) break;
      next %= this.count;
      const isNear = k < 4;
      if (this.decoded.has(next) || (!isNear && !this.#mayAsk(next))) continue;
      this.load(next).catch(() => {});
    }
  }

  /** Stop loading, and free the pictures. */
  close() {
    this.stop.abort();
    for (const frame of this.decoded.values()) free(frame);
    this.decoded.clear();
    this.bundles.clear();
  }

  #mayAsk(t) {
    const bundle = this.bundles.get(Math.floor(t / this.bundleSize));
    return bundle ? !bundle.failed : this.requests < MAX_REQUESTS;
  }

  async #decode(t) {
    const frame = {t, error: null};
    try {
      const content = await this.#bundle(Math.floor(t / this.bundleSize));
      const jpegs = content[t % this.bundleSize] ?? [];
      const bitmaps = await Promise.all(this.parts.map((_, k) => decode(jpegs[k])));
      this.parts.forEach((part, k) => { frame[part] = bitmaps[k]; });
    } catch (error) {
      if (this.stop.signal.aborted) throw error;
      frame.error = error.message;
      setTimeout(() => this.decoded.delete(t), RETRY_MS);
    }
    for (const part of ["rgb", "flow_x", "flow_y"]) frame[part] ??= null;
    if (this.stop.signal.aborted) {
      free(frame);
      throw new DOMException("loading was stopped", "AbortError");
    }
    this.decoded.delete(t);
    this.decoded.set(t, frame);
    this.#evict();
    this.onload(frame);
    return frame;
  }

  #bundle(number) {
    const known = this.bundles.get(number);
    if (known) {
      this.bundles.delete(number);
      this.bundles.set(number, known);
      return known.promise;
    }
    const bundle = {bytes: 0, failed: false};
    bundle.promise = this.#request(number, bundle);
    this.bundles.set(number, bundle);
    return bundle.promise;
  }

  async #request(number, bundle) {
    const values = {start: number * this.bundleSize, count: this.bundleSize, parts: this.parts.join(",")};
    this.requests++;
    try {
      const path = `/api/video/${this.key}/frames${query(values)}`;
      const content = await getBytes(path, this.stop.signal);
      bundle.bytes = content.byteLength;
      return splitBundle(content, this.parts.length);
    } catch (error) {
      bundle.failed = true;
      setTimeout(() => this.bundles.delete(number), RETRY_MS);
      throw error;
    } finally {
      this.requests--;
      let total = 0;
      for (const {bytes} of this.bundles.values()) total += bytes;
      for (const [other, {bytes}] of this.bundles) {
        if (total <= BUNDLE_BYTES || other === number) break;
        total -= bytes;
        this.bundles.delete(other);
      }
    }
  }

  #evict() {
    const ahead = (t) => (t - this.position + this.count) % this.count;
    while (this.decoded.size > this.capacity) {
      // Frames just behind the position are the last that will be needed again.
      let [worst, distance] = [null, -1];
      for (const [t, frame] of this.decoded) {
        if (frame instanceof Promise || t === this.position || t === this.shown) continue;
        if (ahead(t) > distance) [worst, distance] = [t, ahead(t)];
      }
      if (worst === null) return;
      free(this.decoded.get(worst));
      this.decoded.delete(worst);
    }
  }
}

/**
 * Split a bundle of flowkit/web/images.py into the JPEGs of each frame.
 * @param {ArrayBuffer} content
 * @param {number} parts Number of parts of a frame.
 * @returns {Uint8Array[][]} for each frame its parts; empty where there is none.
 */
export function splitBundle(content, parts) {
  const view = new DataView(content);
  const frames = [];
  for (let k = view.getUint32(0, true), at = 4; k > 0; k--) {
    const frame = [];
    for (let part = 0; part < parts; part++) {
      const length = view.getUint32(at, true);
      frame.push(new Uint8Array(content, at + 4, length));
      at += 4 + length;
    }
    frames.push(frame);
  }
  return frames;
}

/** Decode a JPEG. The picture has `width` and `height`, both 0 once it is closed. */
async function decode(jpeg) {
  if (!jpeg?.length) return null;
  try {
    // Three times cheaper than by a blob, but only in secure contexts, and not in every browser.
    if (window.ImageDecoder) return await decodeFrame(jpeg);
    return await createImageBitmap(new Blob([jpeg], {type: "image/jpeg"}), AS_STORED);
  } catch {
    return null;  // a damaged picture is shown as one
  }
}

async function decodeFrame(jpeg) {
  const decoder = new ImageDecoder({data: jpeg, type: "image/jpeg", colorSpaceConversion: "none"});
  try {
    const {image} = await decoder.decode();
    return Object.defineProperties(image, {
      width: {get: () => image.displayWidth}, height: {get: () => image.displayHeight},
    });
  } finally {
    decoder.close();
  }
}

function free(frame) {
  for (const part of ["rgb", "flow_x", "flow_y"]) frame[part]?.close?.();
}
