// Play the frames of one video at their times. The player knows no pictures and no buttons: it
// keeps the position and the clock, asks a FrameLoader for frames, and says what to show.
//
// Events: "frame" when another frame is to be shown (its position and pictures are `t` and `frame`),
// "state" when it starts, stops, waits, or changes its speed or loop, and "place" when the place that
// the pointer reads changes (`place` is {x, y, stage, isPinned} in pixels, or null).
//
// While it plays, the clock stands still when the next frame is not decoded yet, so no frame is
// left out for want of data; frames are left out only where the display is too slow for them.

const TICK_MS = 1000 / 60;
const LONGEST_STEP = 0.25;
const WAITS_AFTER_MS = 200;

/** Speeds that one can choose. */
export const SPEEDS = [0.25, 0.5, 1, 1.5, 2, 4];

/** Return when frame t of a video is shown, in seconds. */
export function timeOf(video, t) {
  return video.times ? video.times[t] ?? 0 : t * video.interval;
}

/** Return the last frame that is shown at a time or before it. */
export function frameAt(video, seconds) {
  if (!video.times) {
    return Math.max(0, Math.min(video.frames - 1, Math.floor(seconds / video.interval + 1e-4)));
  }
  let [low, high] = [0, video.times.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (video.times[middle] <= seconds + 1e-9) low = middle;
    else high = middle;
  }
  return low;
}

/** The position in a video, and the clock that moves it. */
export class Player extends EventTarget {
  /**
   * @param {object} video Facts of the video, of /api/video/KEY.
   * @param {import("./frames.js").FrameLoader} loader
   * @param {{t?: number, speed?: number, loop?: boolean, signal?: AbortSignal}} options
   */
  constructor(video, loader, {t = 0, speed = 1, loop = false, signal} = {}) {
    super();
    Object.assign(this, {video, loader, speed, loop, t: this.#clamp(t, video)});
    this.frame = null;
    this.isPlaying = false;
    this.isWaiting = false;
    this.place = null;
    this.stages = new Map();
    this.resetStatistics();
    signal?.addEventListener("abort", () => this.pause(), {once: true});
    this.isStopped = () => signal?.aborted ?? false;
  }

  /** Return the seconds at which frame t is shown. */
  timeOf(t) {
    return timeOf(this.video, t);
  }

  /** Return the element over which one may lay pictures: of "rgb" or "flow"; undefined without. */
  stage(name) {
    return this.stages.get(name);
  }

  /** Start. At the end of the video, it starts over. */
  play() {
    if (this.isPlaying || !this.video.frames) return;
    if (this.t === this.video.frames - 1) this.t = 0;
    this.isPlaying = true;
    this.seconds = this.timeOf(this.t);
    this.ticked = performance.now();
    this.tickMs = TICK_MS;  // time between two pictures of the screen, averaged
    this.resetStatistics();
    this.loader.aim(this.t, {stride: this.#stride(), loop: this.loop});
    this.#tell("state");
    requestAnimationFrame((now) => this.#tick(now));
  }

  /** Stop at the frame that is shown. */
  pause() {
    if (!this.isPlaying) return;
    this.isPlaying = false;
    this.isWaiting = false;
    this.#tell("state");
  }

  /** Start or stop. */
  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  /** Go some frames on (or back), and stop; in a loop, past the end is the start. */
  step(frames) {
    this.pause();
    const {frames: count} = this.video;
    const next = this.t + frames;
    this.seek(this.loop ? (next % count + count) % count : next);
  }

  /** Go to a frame; a number beyond the video is its first or last frame. */
  seek(t) {
    if (!this.video.frames) return;
    this.t = this.#clamp(t, this.video);
    this.seconds = this.timeOf(this.t);
    this.#load();
  }

  /** Choose the speed: 1 is that of the recording. */
  setSpeed(speed) {
    this.speed = speed;
    this.#tell("state");
  }

  /** Choose the next speed up (1) or down (-1). */
  changeSpeed(direction) {
    const faster = SPEEDS.find((speed) => speed > this.speed) ?? SPEEDS.at(-1);
    const slower = SPEEDS.findLast((speed) => speed < this.speed) ?? SPEEDS[0];
    this.setSpeed(direction > 0 ? faster : slower);
  }

  /** Choose whether the video starts over at its end. */
  setLoop(loop) {
    this.loop = loop;
    this.#tell("state");
  }

  /** Set the place that is read, or null. */
  setPlace(place) {
    this.place = place;
    this.#tell("place");
  }

  /** Count from now on: frames shown, left out, and milliseconds that the clock stood still. */
  resetStatistics() {
    this.statistics = {since: performance.now(), shown: 0, skipped: 0, waitedMs: 0};
  }

  #tick(now) {
    if (!this.isPlaying || this.isStopped()) return;
    requestAnimationFrame((later) => this.#tick(later));
    const elapsed = now - this.ticked;
    this.ticked = now;
    this.tickMs += (Math.min(elapsed, 1000 * LONGEST_STEP) - this.tickMs) / 16;
    let seconds = this.seconds + Math.min(elapsed / 1000, LONGEST_STEP) * this.speed;
    const end = this.#end();
    if (seconds >= end) {
      if (!this.loop) {
        this.seek(this.video.frames - 1);
        this.pause();
        return;
      }
      seconds %= end;
    }
    const stride = this.#stride();
    let t = frameAt(this.video, Math.max(0, seconds));
    t -= t % stride;
    if (t === this.t) {
      this.seconds = seconds;
      return;
    }
    const frame = this.loader.peek(t);
    if (!frame) {
      this.loader.aim(t, {stride, loop: this.loop});
      this.statistics.waitedMs += elapsed;
      this.waitingSince ??= now;
      if (now - this.waitingSince > WAITS_AFTER_MS) this.#setWaiting(true);
      return;  // the clock stands still
    }
    this.waitingSince = null;
    this.#setWaiting(false);
    this.seconds = seconds;
    if (t > this.t) this.statistics.skipped += Math.max(0, t - this.t - stride);
    this.statistics.shown++;
    this.t = t;
    this.#show(frame);
    this.loader.aim(t, {stride, loop: this.loop});
  }

  #end() {
    const {video} = this;
    const last = this.timeOf(video.frames - 1);
    return Math.max(video.duration || 0, last + (video.interval ?? 1 / (video.fps || 25)) / 2);
  }

  /**
   * At high speeds, or on a busy machine, only every so many frames can be seen, and only these are
   * decoded. A power of two, so that frames decoded for one stride serve another one too.
   */
  #stride() {
    const frames = this.speed * (this.video.fps || 25) * this.tickMs / 1000;
    return 2 ** Math.max(0, Math.ceil(Math.log2(frames / 1.2)));
  }

  #clamp(t, video) {
    return Math.max(0, Math.min(video.frames - 1, Math.round(t) || 0));
  }

  /** Show the position as soon as its frame is there; of many requested ones only the last. */
  async #load() {
    const ready = this.loader.peek(this.t);
    if (ready) this.#show(ready);
    if (this.isLoading) return;
    this.isLoading = true;
    try {
      while (this.frame?.t !== this.t && !this.isStopped()) {
        const slow = setTimeout(() => this.#setWaiting(true), WAITS_AFTER_MS);
        this.loader.position = this.t;
        const frame = await this.loader.load(this.t).finally(() => clearTimeout(slow));
        this.#setWaiting(false);
        this.#show(frame);
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      this.isLoading = false;
    }
    this.loader.aim(this.t, {loop: this.loop});
  }

  #show(frame) {
    this.frame = frame;
    this.loader.shown = frame.t;
    this.#tell("frame");
  }

  #setWaiting(isWaiting) {
    if (this.isWaiting === isWaiting) return;
    this.isWaiting = isWaiting;
    this.#tell("state");
  }

  #tell(name) {
    if (!this.isStopped()) this.dispatchEvent(new Event(name));
  }
}
