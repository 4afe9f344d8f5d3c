// Play the flow of the tile under the pointer, or that has the focus. A store without flow plays
// its frames. There is one player for all tiles, as a browser allows few WebGL canvases.

import {getBytes} from "./api.js";
import {h} from "./dom.js";
import {FlowView, estimateScale} from "./flow_view.js";
import {FrameLoader} from "./frames.js";

const WAIT_MS = 120;
const MAX_FPS = 30;

/** Plays one video at a time inside an element. */
export class Preview {
  /** @param {AbortSignal} signal Ends everything. */
  constructor(signal) {
    this.signal = signal;
    this.isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    signal.addEventListener("abort", () => {
      this.stop();
      this.view?.close();
    }, {once: true});
  }

  /**
   * Play a video of `/api/videos` over a picture, after a moment.
   * @param {HTMLElement} place Where the picture is.
   * @param {{key: string, frames: number, fps: number, streams: string[]}} video
   * @param {number} bound Largest displacement that the store holds, in pixels.
   */
  play(place, video, bound) {
    if (this.place === place) return;
    this.stop();
    this.place = place;
    this.timer = setTimeout(() => this.#start(place, video, bound), WAIT_MS);
  }

  /** Stop, and show the picture again. */
  stop() {
    clearTimeout(this.timer);
    cancelAnimationFrame(this.frame);
    this.loader?.close();
    this.loader = null;
    this.canvas?.remove();
    this.place?.classList.remove("playing");
    this.place = null;
  }

  async #start(place, video, bound) {
    const hasFlow = video.streams.includes("flow") && bound > 0;
    const parts = hasFlow ? ["flow_x", "flow_y"] : ["rgb"];
    const loader = new FrameLoader(video.key, video, {parts, signal: this.signal});
    this.loader = loader;
    const draw = hasFlow ? this.#makeFlowPainter(bound) : this.#makePainter();
    const first = video.thumbnail?.t ?? 0;
    const interval = 1000 / Math.max(1, Math.min(video.fps || 25, MAX_FPS));
    let shown = -1, started = null;
    const step = (now) => {
      if (this.loader !== loader) return;
      if (!place.isConnected) {  // the tile was scrolled out of view
        this.stop();
        return;
      }
      started ??= now;
      const t = this.isStill ? first : Math.floor((now - started) / interval) % video.frames;
      loader.aim(t, {loop: true});
      const frame = loader.peek(t);
      if (frame && t !== shown && draw(frame)) {
        shown = t;
        if (!this.canvas.isConnected) {
          this.canvas.classList.add("preview");
          place.append(this.canvas);
          place.classList.add("playing");
        }
      }
      if (!this.isStill || shown < 0) this.frame = requestAnimationFrame(step);
    };
    // The clock starts with the first frame, so that a short video is not over before it came.
    try {
      await loader.load(this.isStill ? first : 0);
    } catch {
      return;  // stopped meanwhile
    }
    if (this.loader === loader) this.frame = requestAnimationFrame(step);
  }

  #makeFlowPainter(bound) {
    this.view ??= new FlowView({bound});
    this.canvas = this.view.canvas;
    let scale = null;
    return ({flow_x: x, flow_y: y}) => {
      if (!x || !y) return false;
      scale ??= estimateScale(x, y, bound);
      this.view.setView({bound, scale});
      this.view.draw(x, y);
      this.canvas = this.view.canvas;  // another one if the graphics card was lost
      return true;
    };
  }

  #makePainter() {
    this.canvas = h("canvas", {});
    const context = this.canvas.getContext("2d");
    return ({rgb}) => {
      if (!rgb) return false;
      if (this.canvas.width !== rgb.width) this.canvas.width = rgb.width;
      if (this.canvas.height !== rgb.height) this.canvas.height = rgb.height;
      context.drawImage(rgb, 0, 0);
      return true;
    };
  }
}

/**
 * Draw one flow field of a video on a canvas, for a store without RGB.
 * @param {string} key Key of the video.
 * @param {number} t Frame of the field.
 * @param {number} bound Largest displacement that the store holds, in pixels.
 * @returns {Promise<HTMLCanvasElement>} rejected if the field cannot be read.
 */
export async function drawField(key, t, bound, signal) {
  const bitmaps = await Promise.all(["flow_x", "flow_y"].map(async (part) => {
    const jpeg = await getBytes(`/image/${key}/${part}/${t}.jpg`, signal);
    return createImageBitmap(new Blob([jpeg], {type: "image/jpeg"}),
      {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  }));
  const view = new FlowView({
    bound, scale: estimateScale(...bitmaps, bound), usesWebGL: false,
  });
  view.draw(...bitmaps);
  for (const bitmap of bitmaps) bitmap.close();
  return view.canvas;
}
