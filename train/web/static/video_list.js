// List the videos of a run by how it scored them: wrong ones first, by loss, by confidence, or by
// id, and only those of one cell of the confusion matrix if one is open.

import {getJSON, query as makeQuery} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {fillBox, formatPercent, makeChoice, makeThumbnail} from "./parts.js";

const ORDERS = [["wrong", "wrong first"], ["loss", "largest loss first"], ["confidence", "most confident first"], ["id", "in order of ids"]];
const PAGE = 48;

/** The list in a box; `load` shows its first page. */
export class VideoList {
  /**
   * @param {HTMLElement} box
   * @param {string} path Path of the JSON values.
   * @param {{score: string, sort: string, true: string, predicted: string}} state
   * @param {AbortSignal} signal
   */
  constructor(box, path, state, signal) {
    Object.assign(this, {path, signal, state: {...state}});
    if (!ORDERS.some(([name]) => name === this.state.sort)) this.state.sort = "wrong";
    this.names = new Map();
    this.head = h("p", {class: "list-head", role: "status"});
    this.list = h("div", {class: "run-tiles"});
    const choose = makeChoice("Order", ORDERS, this.state.sort, (sort) => {
      this.state.sort = sort;
      rememberState({sort: sort === "wrong" ? "" : sort});
      this.load();
    });
    box.append(h("div", {class: "list-bar"}, this.head, choose), this.list);
  }

  /** The open cell of the matrix; empty texts if none is. */
  get cell() {
    return {true: this.state.true, predicted: this.state.predicted};
  }

  /** Learn the names of classes by their index. */
  setClasses(classes) {
    this.names = new Map(classes.map((item) => [String(item.class), item.name]));
    this.#showHead();
  }

  /** Show the videos of another score. */
  setScore(score) {
    this.state.score = score;
    this.load();
  }

  /** Show the videos of a cell; of all cells if it has empty texts. */
  setCell(cell) {
    Object.assign(this.state, cell);
    rememberState(cell);
    this.load();
  }

  /** Show the first page. */
  load() {
    this.total = null;
    return fillBox(this.list, this.signal, async () => {
      const answer = await this.#ask(0);
      this.total = answer.total;
      this.wrong = answer.wrong;
      this.#showHead();
      return this.#makeTiles(answer);
    });
  }

  #ask(offset) {
    return getJSON(this.path + makeQuery({...this.state, offset, limit: PAGE}), this.signal);
  }

  #makeTiles({videos, offset, total}) {
    const tiles = videos.map((video) => makeThumbnail(video,
      h("span", {class: video.right ? "verdict right" : "verdict wrong"},
        video.right ? `✓ ${video.predicted}` : `✗ ${video.predicted}, not ${video.true}`),
      h("span", {class: "quiet"}, `${formatPercent(video.confidence)} sure, loss ${video.loss.toFixed(2)}`)));
    const next = offset + videos.length;
    if (next >= total) return tiles;
    const more = h("button", {type: "button", class: "run-more", onclick: async () => {
      more.disabled = true;
      try {
        more.replaceWith(...this.#makeTiles(await this.#ask(next)));
      } catch (error) {
        more.disabled = false;
        more.textContent = error.message;
      }
    }}, `Show more (${total - next} left)`);
    return [...tiles, more];
  }

  #showHead() {
    const {true: own, predicted} = this.state;
    const name = (index) => (index === "other" ? "another class" : this.names.get(index) ?? `class ${index}`);
    const count = this.total === null ? "" : `${this.total} videos, ${this.wrong} wrong`;
    const parts = own || predicted
      ? [`${own ? name(own) : "any class"} as ${predicted ? name(predicted) : "any class"}`, count ? `: ${count} `: " ",
        h("button", {type: "button", class: "link", onclick: () => this.setCell({true: "", predicted: ""})}, "show all")]
      : [count];
    this.head.replaceChildren(...parts);
  }
}
