// Show a list of any length as a grid of tiles: only tiles in view exist, and only their pages of
// the list are loaded.
//
// Tile k of the list is in row floor(k / columns). The grid is as tall as all its rows, up to the
// height that browsers allow; beyond, one pixel of scrolling moves the rows by `ratio` pixels.

import {h} from "./dom.js";
import {ListPages, STOPPED} from "./list_pages.js";

const MAX_HEIGHT = 12_000_000;
const GAP = 12;
const MARGIN = 8;
const MIN_WIDTH = 184;
const TEXT_HEIGHT = 74;
const PICTURE_SHAPE = 3 / 4;
const SETTLE_MS = 80;

/** A grid that scrolls with the document. */
export class Grid {
  /**
   * @param {{load: function(number, number, AbortSignal): Promise<{total: number, version: string,
   *   videos: object[]}>, draw: function(object, number): HTMLElement,
   *   onmove: function(number): void, onerror: function(Error): void,
   *   onload: function(object): void, signal: AbortSignal}} options
   *   `load` returns a page of the list, `draw` makes the content of a tile (its property
   *   `showPicture`, if any, is called once the tile stays in view), `onmove` is told the tile that
   *   is current or at the top, for the URL.
   */
  constructor(options) {
    Object.assign(this, options);
    this.element = h("ul", {class: "grid", "aria-label": "Videos", "aria-live": "off"});
    this.tiles = new Map();  // index: element
    this.list = new ListPages(this.load, this.onerror);
    this.total = 0;
    this.current = 0;
    this.top = 0;
    const {signal} = this;
    const update = () => this.#schedule();
    window.addEventListener("scroll", update, {signal, passive: true});
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.element);
    this.element.addEventListener("focusin", ({target}) => {
      const tile = target.closest(".cell");
      if (tile) this.#setCurrent(Number(tile.dataset.index));
    });
    signal.addEventListener("abort", () => this.close(), {once: true});
  }

  /** Show another list, from its tile `at` on. The old one stays until the first answer. */
  async reset(at = 0) {
    this.list.clear();
    this.element.classList.add("stale");
    const answer = await this.list.request(at);
    if (this.signal.aborted || answer === STOPPED) return;
    this.element.classList.remove("stale");
    this.total = 0;
    this.#take(answer);
    this.current = Math.max(0, Math.min(at, this.total - 1));
    const hadFocus = this.hasFocus();
    this.#dropTiles();
    this.#measure();
    if (at) this.#scrollTo(this.current, "start");
    else if (this.element.getBoundingClientRect().top < 0) this.#scrollTo(0, "start");
    this.#render();
    if (hadFocus) this.focus(this.current);
  }

  /** Stop, and free what is shown. */
  close() {
    this.list.clear();
    this.#dropTiles();
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.timer);
  }

  /** Move the focus by some tiles, or by rows; the tile comes into view. */
  move(step, {rows = false} = {}) {
    if (!this.hasFocus()) return this.focus(this.current);
    const next = this.current + step * (rows ? this.columns : 1);
    if (next >= 0 && next < this.total) this.focus(next);
  }

  /** Focus tile k. */
  focus(k) {
    if (!this.total) return;
    this.#setCurrent(Math.max(0, Math.min(k, this.total - 1)));
    this.#scrollTo(this.current);
    this.#render();
    this.tiles.get(this.current)?.firstChild?.focus({preventScroll: true});
  }

  /** Return whether a tile has the focus. */
  hasFocus() {
    return this.element.contains(document.activeElement);
  }

  #dropTiles() {
    for (const index of [...this.tiles.keys()]) this.#drop(index);
  }

  #setCurrent(k) {
    this.tiles.get(this.current)?.firstChild?.setAttribute("tabindex", -1);
    this.current = k;
    this.tiles.get(k)?.firstChild?.setAttribute("tabindex", 0);
    this.onmove(k);
  }

  /** Find how many columns there are, and how tall the grid is. */
  #measure() {
    const width = this.element.clientWidth;
    if (!width) return;
    const first = this.#firstInView();
    this.columns = Math.max(2, Math.floor((width + GAP) / (MIN_WIDTH + GAP)));
    this.width = (width - GAP * (this.columns - 1)) / this.columns;
    this.pictureHeight = Math.round(this.width * PICTURE_SHAPE);
    this.rowHeight = this.pictureHeight + TEXT_HEIGHT + GAP;
    const whole = Math.ceil(this.total / this.columns) * this.rowHeight;
    const height = Math.min(whole, MAX_HEIGHT), seen = window.innerHeight;
    this.ratio = height < whole ? (whole - seen) / (height - seen) : 1;
    const isNew = this.measured !== `${width} ${this.total}`;
    this.measured = `${width} ${this.total}`;
    this.element.style.height = `${height}px`;
    this.element.style.setProperty("--picture-height", `${this.pictureHeight}px`);
    if (isNew) this.#dropTiles();
    if (isNew && first) this.#scrollTo(first, "start");
    this.#render();
  }

  /** Return how far the list is scrolled, in pixels of rows. */
  #scrolled() {
    return Math.max(0, -this.element.getBoundingClientRect().top) * this.ratio;
  }

  #firstInView() {
    return this.rowHeight ? Math.floor(this.#scrolled() / this.rowHeight) * this.columns : 0;
  }

  /** Bring tile k into view: as little as is needed, or to the top. */
  #scrollTo(k, place = "nearest") {
    const offset = this.element.getBoundingClientRect().top + window.scrollY;
    const top = Math.floor(k / this.columns) * this.rowHeight - MARGIN;
    const bottom = top + this.rowHeight + MARGIN;
    const shown = top - this.#scrolled() + Math.max(0, offset - window.scrollY);
    const scroll = (distance) =>
      window.scrollTo(0, offset + (distance > 0 ? distance / this.ratio : distance));
    if (place === "start" || shown < 0) scroll(top);
    else if (shown + bottom - top > window.innerHeight) scroll(bottom - window.innerHeight);
  }

  #schedule() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.#render());
  }

  /** Make the tiles in view and a row around them, and drop all others. */
  #render() {
    if (this.signal.aborted || !this.columns) return;
    const box = this.element.getBoundingClientRect(), scrolled = this.#scrolled();
    const isJump = Math.abs(scrolled - this.top) > window.innerHeight, isMoved = scrolled !== this.top;
    this.top = scrolled;
    const rows = Math.ceil(this.total / this.columns);
    const from = Math.max(0, Math.floor(scrolled / this.rowHeight) - 1);
    const seen = window.innerHeight - Math.max(0, box.top);
    const to = Math.min(rows, Math.ceil((scrolled + Math.max(0, seen)) / this.rowHeight) + 1);
    const [first, last] = [from * this.columns, Math.min(this.total, to * this.columns)];
    const focused = this.hasFocus() ? this.current : -1;
    if (focused < 0 && isMoved && (this.current < first || this.current >= last)) {
      this.#setCurrent(Math.min(this.#firstInView() + this.columns, last - 1));
    }
    for (const index of [...this.tiles.keys()]) {
      if ((index < first || index >= last) && index !== focused) this.#drop(index);
    }
    // The part of the rows above the window, in pixels of the document.
    const shift = scrolled / this.ratio - scrolled;
    for (let k = last - 1; k >= first; k--) {  // from the last, as each is inserted before the next
      const tile = this.tiles.get(k) ?? this.#add(k);
      const x = (k % this.columns) * (this.width + GAP);
      const y = Math.floor(k / this.columns) * this.rowHeight + shift;
      tile.style.transform = `translate(${x}px, ${y}px)`;
      tile.style.width = `${this.width}px`;
    }
    clearTimeout(this.timer);
    if (isJump) this.timer = setTimeout(() => this.#fill(first, last), SETTLE_MS);
    else this.#fill(first, last);
  }

  /** Load the pages of tiles in view, and show their pictures. */
  #fill(first, last) {
    if (!this.total) return;
    for (const request of this.list.aim(first, last)) {
      request.then((answer) => this.#take(answer) && this.#render());
    }
    for (let k = first; k < last; k++) this.tiles.get(k)?.firstChild?.showPicture?.();
  }

  /** Draw the tiles of a page that has come; return whether one has. */
  #take(answer) {
    if (!answer?.videos || this.signal.aborted) return false;
    const hasGrown = answer.total !== this.total;
    this.total = answer.total;
    this.onload(answer);
    for (const [k, tile] of this.tiles) {
      if (k >= answer.offset && k < answer.offset + answer.videos.length) this.#draw(tile, k);
    }
    if (hasGrown) this.#measure();
    return true;
  }

  #add(k) {
    const tile = h("li", {class: "cell", "data-index": k, "aria-posinset": k + 1,
      "aria-setsize": this.total});
    this.tiles.set(k, tile);
    this.#draw(tile, k);
    // In the order of the list, for screen readers.
    this.element.insertBefore(tile, this.tiles.get(k + 1) ?? null);
    return tile;
  }

  #draw(tile, k) {
    const video = this.list.get(k);
    const hadFocus = tile.contains(document.activeElement);
    const content = video ? this.draw(video, k) : h("div", {class: "tile waiting"});
    content.setAttribute("tabindex", k === this.current ? 0 : -1);
    tile.replaceChildren(content);
    if (hadFocus) content.focus({preventScroll: true});
  }

  #drop(index) {
    const tile = this.tiles.get(index);
    tile.querySelector("img")?.removeAttribute("src");  // its request ends
    tile.remove();
    this.tiles.delete(index);
  }
}
