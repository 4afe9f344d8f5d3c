// Draw weights over a picture: as heat, with a frame around what the network sees, arrows to the
// highest weights, and dots at salient positions.

import {h, svg} from "/static/dom.js";
import {makeAddress} from "/static/place.js";

// Inferno, as in report: its lightness rises evenly, so that it reads without colours too.
const INFERNO = [[0, 0, 4], [40, 11, 84], [101, 21, 110], [159, 42, 99], [212, 72, 66], [245, 125, 21], [250, 193, 39], [252, 255, 164]];

/** Return the colour of a share of 0 to 1 as [red, green, blue]. */
export function colourOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (INFERNO.length - 1);
  const i = Math.min(Math.floor(place), INFERNO.length - 2);
  return INFERNO[i].map((low, c) => Math.round(low + (place - i) * (INFERNO[i + 1][c] - low)));
}

/** Paint weights (rows of numbers) into a canvas with a pixel for each; the largest is brightest. */
export function paintHeat(canvas, weights, largest = Math.max(...weights.flat())) {
  const [height, width] = [weights.length, weights[0].length];
  Object.assign(canvas, {width, height});
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  weights.flat().forEach((weight, i) => image.data.set([...colourOf(weight / (largest || 1)), 255], 4 * i));
  context.putImageData(image, 0, 0);
}

/** A picture of a frame or a flow field, with the crop that the network sees marked on it. */
export class Picture {
  /**
   * @param {{video: object, stream: string, t: number, box: number[], title: string}} options
   */
  constructor({video, stream, t, box, title}) {
    this.box = box;
    const {width, height} = video;
    this.image = h("img", {alt: "", draggable: "false"});
    this.heat = h("canvas", {class: "heat", hidden: true, "aria-hidden": "true"});
    const [left, top, right, bottom] = box;
    Object.assign(this.heat.style, {
      left: `${100 * left}%`, top: `${100 * top}%`, width: `${100 * (right - left)}%`, height: `${100 * (bottom - top)}%`,
    });
    this.marks = svg("g");
    const crop = svg("rect", {class: "crop", x: left * width, y: top * height, width: (right - left) * width, height: (bottom - top) * height});
    const drawing = svg("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"}, crop, this.marks);
    this.size = [width, height];
    this.tile = h("p", {class: "ask-tile", hidden: true});
    this.stage = h("div", {class: "ask-stage", role: "img"}, this.image, this.heat, drawing, this.tile);
    this.stage.style.aspectRatio = `${width} / ${height}`;
    this.caption = h("figcaption");
    this.element = h("figure", {}, this.caption, this.stage);
    this.key = video.key;
    this.image.addEventListener("error", () => {
      this.tile.hidden = false;
      this.tile.textContent = `${this.caption.textContent} cannot be read.`;
    });
    this.setFrame(stream, t, title);
  }

  /** Show a frame or a flow field of the video. */
  setFrame(stream, t, title) {
    const source = makeAddress(`/api/video/${this.key}/picture/${stream}/${t}.png`);
    if (this.image.getAttribute("src") === source) return;
    this.tile.hidden = true;
    this.image.src = source;
    this.stage.dataset.stream = stream;
    this.stage.setAttribute("aria-label", title);
    this.caption.textContent = title;
  }

  /** Return the point of an event as fractions [x, y] of the crop; null outside of it. */
  pointOf(event) {
    const rectangle = this.stage.getBoundingClientRect();
    const [left, top, right, bottom] = this.box;
    const x = ((event.clientX - rectangle.left) / rectangle.width - left) / (right - left);
    const y = ((event.clientY - rectangle.top) / rectangle.height - top) / (bottom - top);
    return x >= 0 && x < 1 && y >= 0 && y < 1 ? [x, y] : null;
  }

  /** Show weights as heat; null hides it. The largest weight may be in another picture. */
  showHeat(weights, largest) {
    this.heat.hidden = !weights;
    if (weights) paintHeat(this.heat, weights, largest);
  }

  /** Remove all marks. */
  clear() {
    this.showHeat(null);
    this.marks.replaceChildren();
  }

  /** Return the middle of a cell of a grid [rows, columns] in pixels of the frame. */
  middleOf([row, column], [rows, columns]) {
    const [left, top, right, bottom] = this.box, [width, height] = this.size;
    return [
      width * (left + (right - left) * (column + 0.5) / columns),
      height * (top + (bottom - top) * (row + 0.5) / rows),
    ];
  }

  /** Mark the cell that asks; dashed in another frame than that which asks. */
  markCell(cell, grid, isElsewhere = false) {
    const [x, y] = this.middleOf(cell, grid);
    const radius = Math.max(...this.size) / 60;
    this.marks.append(svg("circle", {class: "asks under", cx: x, cy: y, r: radius}), svg("circle", {class: isElsewhere ? "asks elsewhere" : "asks", cx: x, cy: y, r: radius}));
  }

  /** Draw an arrow between two points in pixels. */
  drawArrow([x1, y1], [x2, y2], opacity) {
    const length = Math.hypot(x2 - x1, y2 - y1), head = Math.max(...this.size) / 40;
    if (length < 1) return;
    const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
    const corner = (side) => `${x2 - head * ux + side * head * 0.5 * uy},${y2 - head * uy - side * head * 0.5 * ux}`;
    const path = `M${x1},${y1} L${x2},${y2} M${corner(1)} L${x2},${y2} L${corner(-1)}`;
    this.marks.append(svg("path", {class: "arrow under", d: path, opacity}), svg("path", {class: "arrow", d: path, opacity}));
  }

  /** Draw dots at cells of a grid. */
  drawDots(cells, grid, name, radius) {
    for (const cell of cells) {
      const [cx, cy] = this.middleOf(cell, grid);
      this.marks.append(svg("circle", {class: `salient ${name}`, cx, cy, r: radius}));
    }
  }
}
