// The time axis of a video: a slider, and below it, on the same axis, the mean motion as a curve, the
// sound as a spectrogram, and the segments of its labels. A press anywhere moves the player there.

import {frameAt, timeOf} from "./player.js";
import {h, svg} from "./dom.js";

const CURVE = [1000, 100];
const LANES = 6;
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200];

/** The time axis. `element` is its box. */
export class Timeline {
  /**
   * @param {import("./player.js").Player} player
   * @param {AbortSignal} signal
   */
  constructor(player, signal) {
    this.player = player;
    const {video} = player;
    this.end = Math.max(video.duration || 0, video.sound_seconds || 0,
      video.frames ? timeOf(video, video.frames - 1) : 0) || 1;
    this.tracks = h("div", {class: "tracks"});
    this.element = h("div", {class: "timeline"}, this.tracks);
    if (video.frames) this.#addSlider(signal);
    if (video.flow) this.curve = this.#addLane("Motion", "lane-curve", h("p", {class: "quiet"}, "…"));
    if (video.patches) this.#addSpectrogram();
    else if (video.streams.includes("audio")) {
      this.#addLane("Sound", "lane-note", h("p", {class: "quiet"}, "There is none, or less than one patch of it."));
    }
    const segments = video.labels.filter(({start, end}) => start !== null && end !== null);
    if (segments.length) this.#addSegments(segments);
    this.#addTicks();
    if (!video.frames) return;
    this.cursor = h("div", {class: "cursor"});
    this.tracks.append(h("div", {class: "cursor-box", "aria-hidden": "true"}, this.cursor));
    player.addEventListener("frame", () => this.update());
    this.update();
  }

  /** Move the cursor to the player's position. */
  update() {
    const {t, video} = this.player;
    const seconds = timeOf(video, t);
    const at = seconds / this.end;
    // Transforms need no new layout.
    this.cursor.style.transform = `translateX(${100 * at}%)`;
    this.played.style.transform = `scaleX(${at})`;
    this.slider.setAttribute("aria-valuenow", t);
    this.slider.setAttribute("aria-valuetext", `frame ${t} of ${video.frames}, ${formatTime(seconds)}`);
  }

  /**
   * Show the curve of the motion.
   * @param {?{frames: number[], pixels: (?number)[]}} motion Of /api/video/KEY/motion; null if it
   *   cannot be read.
   */
  showMotion(motion) {
    if (!motion?.frames.length) {
      this.curve.replaceChildren(h("p", {class: "quiet"}, "The motion cannot be read."));
      return;
    }
    const [width, height] = CURVE;
    const top = Math.max(...motion.pixels.map((pixels) => pixels ?? 0), 0.1);
    const runs = [[]];  // a damaged field interrupts the line
    motion.frames.forEach((t, k) => {
      const pixels = motion.pixels[k];
      if (pixels === null) runs.push([]);
      else {
        const x = width * timeOf(this.player.video, t) / this.end;
        runs.at(-1).push(`${x.toFixed(1)} ${(height - 0.92 * height * pixels / top).toFixed(1)}`);
      }
    });
    const paths = runs.filter((run) => run.length);
    const curve = svg("svg", {viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img",
      "aria-label": `Mean motion over time, at most ${top.toFixed(2)} px`},
    paths.map((run) => svg("path", {class: "area", d: `M${run[0].split(" ")[0]} ${height}L${run.join("L")}L${run.at(-1).split(" ")[0]} ${height}Z`})),
    paths.map((run) => svg("path", {class: "line", d: `M${run.join("L")}${run.length === 1 ? "h2" : ""}`})));
    this.curve.replaceChildren(curve, h("span", {class: "top"}, `${top.toFixed(top < 10 ? 2 : 1)} px`));
  }

  #addLane(title, name, ...content) {
    const body = h("div", {class: "lane-body"}, content);
    this.tracks.append(h("div", {class: `lane ${name}`}, h("span", {class: "lane-title"}, title), body));
    return body;
  }

  #addSlider(signal) {
    const {player} = this;
    this.played = h("div", {class: "played"});
    this.slider = h("div", {
      class: "slider", role: "slider", tabindex: "0", "aria-label": "Position",
      "aria-valuemin": "0", "aria-valuemax": player.video.frames - 1,
    }, this.played);
    this.#addLane("Time", "lane-slider", this.slider);
    const seek = (event) => {
      const box = this.tracks.getBoundingClientRect();
      player.seek(frameAt(player.video, (event.clientX - box.left) / box.width * this.end));
    };
    let isDragging = false;
    this.tracks.addEventListener("pointerdown", (event) => {
      if (event.button || event.target.closest("button")) return;
      isDragging = true;
      this.tracks.setPointerCapture(event.pointerId);
      seek(event);
    }, {signal});
    this.tracks.addEventListener("pointermove", (event) => { if (isDragging) seek(event); }, {signal});
    for (const name of ["pointerup", "pointercancel"]) {
      this.tracks.addEventListener(name, () => { isDragging = false; }, {signal});
    }
  }

  #addSpectrogram() {
    const {video} = this.player;
    const image = h("img", {
      src: `/image/${video.key}/audio.png`, draggable: "false",
      alt: `Sound: energy of mel bands over ${formatTime(video.sound_seconds)}, low bands at the bottom`,
    });
    image.style.width = `${100 * video.sound_seconds / this.end}%`;
    const body = this.#addLane("Sound", "lane-sound", image);
    image.addEventListener("error", () => {
      body.replaceChildren(h("p", {class: "quiet"}, "The sound cannot be read. flowkit verify tells more."));
    });
  }

  #addSegments(segments) {
    const ends = [];  // end of the last segment in each row
    const names = [...new Set(segments.map(({name}) => name))];
    const body = this.#addLane("Labels", "lane-labels");
    for (const {name, start, end} of segments.toSorted((a, b) => a.start - b.start)) {
      let row = ends.findIndex((before) => before <= start);
      if (row < 0) row = Math.min(ends.length, LANES - 1);
      ends[row] = Math.max(end, ends[row] ?? 0);
      const times = `${formatTime(start)} to ${formatTime(end)}`;
      const segment = h("button", {
        type: "button", class: `segment hue-${names.indexOf(name) % 6}`, title: `${name}, ${times}`,
        "aria-label": `Go to ${name}, ${times}`, disabled: !this.player.video.frames,
        onclick: () => this.player.seek(frameAt(this.player.video, start)),
      }, name);
      segment.style.left = `${100 * Math.min(1, start / this.end)}%`;
      segment.style.width = `${100 * Math.max(0, Math.min(1, end / this.end) - start / this.end)}%`;
      segment.style.top = `${row * 1.6}rem`;
      body.append(segment);
    }
    body.style.height = `${ends.length * 1.6}rem`;
  }

  #addTicks() {
    const step = TICKS.find((seconds) => this.end / seconds <= 8) ?? 7200 * Math.ceil(this.end / 57600);
    const body = this.#addLane("", "lane-ticks");
    for (let seconds = 0; seconds <= this.end * 0.96; seconds += step) {
      const tick = h("span", {class: "tick"}, formatTick(seconds, step));
      tick.style.left = `${100 * seconds / this.end}%`;
      body.append(tick);
    }
  }
}

/** Write a time: "0:01.24", "1:02:03.5". */
export function formatTime(seconds, digits = 2) {
  const whole = Math.floor(seconds + 1e-6);
  const rest = digits ? Math.max(0, seconds - whole).toFixed(digits).slice(1) : "";
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const two = (number) => String(number).padStart(2, "0");
  return `${hours ? `${hours}:${two(minutes)}` : minutes}:${two(whole % 60)}${rest}`;
}

function formatTick(seconds, step) {
  if (seconds >= 60 || step >= 60) return formatTime(seconds, 0);
  return `${Number(seconds.toFixed(1))} s`;
}
