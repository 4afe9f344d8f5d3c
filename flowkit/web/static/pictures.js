// Show one frame: the RGB picture, its flow beside it, and what the pointer reads in both.
//
// Each picture is a stage: a box of the video's shape with a canvas, a mark at the place that is
// read, and a tile that says why there is no picture where there is none. Other scripts may lay
// their own pictures over a stage (`player.stage("rgb")`).

import {drawArrows} from "./arrows.js";
import {toPixels} from "./flow_colours.js";
import {FlowView, readPixel} from "./flow_view.js";
import {h, svg} from "./dom.js";

/** The pictures of a player. `element` is the box of both. */
export class Pictures {
  /**
   * @param {import("./player.js").Player} player
   * @param {{view: string, scale: number}} options View of the flow, and its scale in pixels.
   * @param {AbortSignal} signal
   */
  constructor(player, {view, scale}, signal) {
    Object.assign(this, {player, view, scale});
    const {video} = player;
    this.element = h("div", {class: "pictures"});
    this.element.style.setProperty("--aspect", video.width / video.height);
    /** What the pointer reads, in words. */
    this.reading = h("p", {class: "reading"});
    if (video.streams.includes("rgb")) this.#addStage("rgb", "RGB", document.createElement("canvas"));
    if (video.flow) {
      this.flowView = new FlowView({bound: video.flow.bound, scale, view: view === "arrows" ? "colour" : view});
      [this.ground, this.arrows] = ["ground", "arrows"].map((name) => h("canvas", {class: name}));
      this.#addStage("flow", "Flow", this.flowView.canvas, this.ground, this.arrows);
      signal.addEventListener("abort", () => this.flowView.close(), {once: true});
    }
    this.element.classList.toggle("alone", this.player.stages.size < 2);
    player.addEventListener("frame", () => this.draw());
    player.addEventListener("place", () => this.#readPlace());
    const resized = new ResizeObserver(() => { if (this.view === "arrows") this.draw(); });
    resized.observe(this.element);
    signal.addEventListener("abort", () => resized.disconnect(), {once: true});
    this.#readPlace();
  }

  /** Choose what the picture of the flow shows. */
  setView({view = this.view, scale = this.scale}) {
    Object.assign(this, {view, scale});
    if (view !== "arrows") this.flowView?.setView({view, scale});
    this.draw();
  }

  /** Draw the player's frame. */
  draw() {
    const {frame, stages} = this.player;
    if (!frame) return;
    const rgb = stages.get("rgb"), flow = stages.get("flow");
    if (rgb) {
      paint(rgb.querySelector("canvas"), frame.rgb);
      setTile(rgb, ...this.#describeMissing(frame, "rgb"));
    }
    if (flow) {
      const [missing, isBad] = this.#describeMissing(frame, "flow");
      flow.classList.toggle("has-arrows", this.view === "arrows");
      if (this.view === "arrows") {
        paint(this.ground, frame.rgb);
        drawArrows(this.arrows, frame, flow, {bound: this.player.video.flow.bound, scale: this.scale});
      } else if (!missing) {
        this.flowView.draw(frame.flow_x, frame.flow_y);
      }
      setTile(flow, missing, isBad);
    }
    this.#readPlace();
  }

  #addStage(name, title, ...canvases) {
    const {video} = this.player;
    const cross = svg("svg", {class: "cross", viewBox: `0 0 ${video.width} ${video.height}`, "aria-hidden": "true"},
      svg("line", {class: "under"}), svg("line"), svg("circle", {r: Math.max(video.width, video.height) / 90}));
    const stage = h("div", {class: "stage", "data-stage": name, role: "img", "aria-label": `${title} picture`},
      canvases, cross, h("p", {class: "tile", hidden: true}));
    stage.style.aspectRatio = `${video.width} / ${video.height}`;
    stage.addEventListener("pointermove", (event) => this.#point(event, name, stage, false));
    stage.addEventListener("click", (event) => this.#point(event, name, stage, true));
    stage.addEventListener("pointerleave", () => {
      if (!this.player.place?.isPinned) this.player.setPlace(null);
    });
    this.player.stages.set(name, stage);
    this.element.append(h("figure", {}, h("figcaption", {}, title), stage));
  }

  #point(event, name, stage, isClick) {
    const {video, place} = this.player;
    if (place?.isPinned && !isClick) return;
    const box = stage.getBoundingClientRect();
    const at = (offset, length, count) => Math.max(0, Math.min(count - 1, Math.floor(offset / length * count)));
    const x = at(event.clientX - box.left, box.width, video.width);
    const y = at(event.clientY - box.top, box.height, video.height);
    this.player.setPlace({x, y, stage: name, isPinned: isClick && !place?.isPinned});
  }

  /** Say why a picture is missing, "" if it is there; and whether that is bad. */
  #describeMissing(frame, stream) {
    if (stream === "rgb" ? frame.rgb : frame.flow_x && frame.flow_y) return ["", false];
    if (frame.error) return [`⚠ Frame ${frame.t} cannot be read: ${frame.error}`, true];
    const {flow} = this.player.video;
    if (stream === "flow" && (frame.t < flow.first || frame.t >= flow.first + flow.count)) {
      const target = frame.t + flow.step;
      return [`Frame ${frame.t} has no flow: it would lead to frame ${target}, which the video lacks.`, false];
    }
    return [`⚠ The ${stream === "rgb" ? "picture" : "flow"} of frame ${frame.t} is damaged. `
      + "flowkit verify tells more.", true];
  }

  /** Read the displacement at the place, and mark it in both pictures. */
  #readPlace() {
    const {place, frame, video, stages} = this.player;
    let displacement = null;
    if (place && frame?.flow_x?.width && frame.flow_y?.width) {
      displacement = readPixel([frame.flow_x, frame.flow_y], place.x, place.y)
        .map((q) => toPixels(q, video.flow.bound));
    }
    for (const stage of stages.values()) markPlace(stage, place, displacement);
    this.reading.classList.toggle("quiet", !place);
    if (!place) {
      this.reading.textContent = video.flow
        ? "Point at a picture to read the displacement there; click to keep the place." : "";
      return;
    }
    const pin = place.isPinned ? " (kept; Escape lets it go)" : "";
    const values = displacement
      ? [["x", signed(displacement[0])], ["y", signed(displacement[1])],
        ["length", Math.hypot(...displacement).toFixed(2)]]
      : [];
    this.reading.replaceChildren(
      h("span", {"data-value": "place"}, `Pixel (${place.x}, ${place.y})${pin}`),
      ...values.map(([name, text]) => h("span", {"data-value": name}, `${name} ${text} px`)));
    if (!values.length) {
      this.reading.append(h("span", {class: "quiet"}, video.flow ? "no flow here" : "the video has no flow"));
    }
  }
}

function signed(pixels) {
  return `${pixels < 0 ? "−" : "+"}${Math.abs(pixels).toFixed(2)}`;
}

function paint(canvas, bitmap) {
  if (!bitmap?.width) return;
  if (canvas.width !== bitmap.width) canvas.width = bitmap.width;
  if (canvas.height !== bitmap.height) canvas.height = bitmap.height;
  canvas.getContext("2d", {alpha: false}).drawImage(bitmap, 0, 0);
}

function setTile(stage, text, isBad) {
  const tile = stage.querySelector(".tile");
  tile.classList.toggle("bad", isBad);
  if (tile.textContent !== text) tile.textContent = text;
  tile.hidden = !text;
}

function markPlace(stage, place, displacement) {
  const cross = stage.querySelector(".cross");
  cross.classList.toggle("shown", place !== null);
  if (!place) return;
  const [x, y] = [place.x + 0.5, place.y + 0.5];
  for (const line of cross.querySelectorAll("line")) {
    const ends = {x1: x, y1: y, x2: x + (displacement?.[0] ?? 0), y2: y + (displacement?.[1] ?? 0)};
    for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
  }
  const circle = cross.querySelector("circle");
  circle.setAttribute("cx", x);
  circle.setAttribute("cy", y);
}
