// Ask cross-modality and non-local attention: a click on a point of one picture shows, as heat and
// arrows over the other one, where the network attends from there.

import {getJSON, query as makeQuery} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {Picture} from "./heat.js";
import {formatPercent, makeChoice} from "./parts.js";

const TITLES = {rgb: "RGB", flow: "Flow"};

/** Fill the box with the pictures of a snippet and the choice of its blocks. */
export async function showCross(box, {path, phase, video, player}, signal) {
  const state = new URLSearchParams(location.search);
  const show = async (snippet, blockName, point) => {
    const facts = await getJSON(`${path}/blocks${makeQuery({phase, snippet})}`, signal);
    if (signal.aborted) return;
    new Question(box, {path, phase, video, player, facts, blockName, point, show}, signal);
  };
  const point = (state.get("at") ?? "").split(",").map(Number);
  const isPoint = point.length === 2 && point.every((value) => value >= 0 && value < 1);
  await show(state.get("snippet") ?? "", state.get("block"), isPoint ? point : [0.5, 0.5]);
}

/** The pictures of one snippet, and what is asked. */
class Question {
  constructor(box, options, signal) {
    Object.assign(this, options, {signal, asked: 0});
    const {facts, video, player, blockName} = options;
    if (!facts.blocks.length) {
      box.replaceChildren(h("p", {class: "quiet"}, "No block of this phase is trained yet: each passes its input on unchanged."));
      return;
    }
    this.block = facts.blocks.find(({name}) => name === blockName) ?? facts.blocks.at(-1);
    const t = facts.times[facts.snippet];
    this.pictures = Object.fromEntries(["rgb", "flow"].map((stream) => [stream,
      new Picture({video, stream, t, box: facts.box, title: `${TITLES[stream]}, frame ${t}`})]));
    this.reading = h("p", {class: "reading", role: "status"});
    this.under = h("p", {class: "quiet reading"});
    for (const [stream, picture] of Object.entries(this.pictures)) this.#listen(stream, picture);
    box.replaceChildren(
      h("div", {class: "ask-bar"}, this.#makeChoices(), h("button", {type: "button", onclick: () => player.seek(t)}, `Show frame ${t} in the player`)),
      h("p", {class: "quiet hint"}), h("div", {class: "ask-pictures"}, Object.values(this.pictures).map(({element}) => element)),
      this.reading, this.under,
      facts.untrained.length ? h("p", {class: "quiet"}, `Not trained in this phase, and left out: ${facts.untrained.join(", ")}.`) : "");
    this.hint = box.querySelector(".hint");
    this.ask(this.point);
  }

  #makeChoices() {
    const {facts} = this;
    this.choice = makeChoice("Block", facts.blocks.map((block) => [block.name, describe(block)]), this.block.name, (name) => {
      this.block = facts.blocks.find((block) => block.name === name);
      this.ask(this.point);
    });
    const snippets = facts.times.map((t, i) => [String(i), `${i + 1} of ${facts.times.length}, frame ${t}`]);
    return [this.choice, facts.times.length > 1 ? makeChoice("Snippet", snippets, String(facts.snippet), (snippet) => {
      rememberState({snippet});
      this.show(snippet, this.block.name, this.point).catch((error) => this.#fail(error));
    }) : ""];
  }

  #listen(stream, picture) {
    const {stage} = picture;
    stage.addEventListener("click", (event) => {
      const point = picture.pointOf(event);
      if (!point) {
        this.reading.textContent = "The network does not see this point: it is outside of the marked square.";
        return;
      }
      if (this.block.query !== stream) this.#turn(stream);
      if (this.block.query === stream) this.ask(point);
    });
    stage.addEventListener("pointermove", (event) => this.#read(stream, picture.pointOf(event)));
    stage.addEventListener("pointerleave", () => { this.under.textContent = ""; });
    stage.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!step || this.block.query !== stream) return;
      event.preventDefault();
      event.stopPropagation();
      const [rows, columns] = this.block.size;
      const inside = (value) => Math.min(Math.max(value, 0), 0.999);
      this.ask([inside(this.point[0] + step[0] / columns), inside(this.point[1] + step[1] / rows)]);
    });
  }

  /** Choose the block of the other direction at the same step, if there is one. */
  #turn(stream) {
    const step = this.block.name.split("/")[1];
    const blocks = this.facts.blocks.filter(({query}) => query === stream);
    const block = blocks.find(({name}) => name.endsWith(`/${step}`)) ?? blocks.at(-1);
    if (!block) {
      this.reading.textContent = `No trained block of this phase attends from ${TITLES[stream]}. Click the other picture.`;
      return;
    }
    this.block = block;
    this.choice.querySelector("select").value = block.name;
  }

  /** Ask where the block attends from a point, as fractions of the crop. */
  async ask(point) {
    this.point = point;
    const {block, path, phase, facts, signal} = this;
    const number = ++this.asked;
    this.hint.textContent = `Click a point of the ${TITLES[block.query]} picture to see where it attends`
      + ` in ${block.key === block.query ? "the same picture" : TITLES[block.key]}: from dark (no weight) to bright (the highest weight).`;
    for (const [stream, {stage}] of Object.entries(this.pictures)) {
      stage.classList.toggle("asking", stream === block.query);
      if (stream === block.query) stage.setAttribute("tabindex", "0");
      else stage.removeAttribute("tabindex");
    }
    const [x, y] = point;
    rememberState({block: block.name, at: `${x.toFixed(3)},${y.toFixed(3)}`});
    try {
      const answer = await getJSON(`${path}/point${makeQuery({phase, snippet: facts.snippet, block: block.name, x, y})}`, signal);
      if (number === this.asked && !signal.aborted) this.#draw(answer);
    } catch (error) {
      this.#fail(error);
    }
  }

  #draw({query, size, weights, arrows}) {
    const {block, pictures} = this;
    this.weights = weights;
    for (const picture of Object.values(pictures)) picture.clear();
    const target = pictures[block.key];
    target.showHeat(weights);
    const start = target.middleOf(query, size);
    for (const [row, column, opacity] of [...arrows].reverse()) {
      target.drawArrow(start, target.middleOf([row, column], block.pooled), opacity);
    }
    target.markCell(query, size);
    if (block.key !== block.query) pictures[block.query].markCell(query, size);
    const [row, column] = arrows[0];
    const equal = 1 / (block.pooled[0] * block.pooled[1]);
    this.reading.textContent = `From row ${query[0] + 1}, column ${query[1] + 1} of ${size.join(" × ")}: highest weight `
      + `${formatPercent(weights[row][column])} at row ${row + 1}, column ${column + 1} of ${block.pooled.join(" × ")}; `
      + `equal weights would be ${formatPercent(equal)} each.`;
  }

  #read(stream, point) {
    if (stream !== this.block.key || !point || !this.weights) {
      this.under.textContent = "";
      return;
    }
    const [row, column] = [Math.floor(point[1] * this.weights.length), Math.floor(point[0] * this.weights[0].length)];
    this.under.textContent = `Weight at row ${row + 1}, column ${column + 1}: ${(100 * this.weights[row][column]).toPrecision(4)} %`;
  }

  #fail(error) {
    if (!this.signal.aborted && error.name !== "AbortError") this.reading.textContent = error.message;
  }
}

function describe({name, query, key, size}) {
  const step = name.split("/")[1];
  const from = key === query ? `${TITLES[query]} in itself (non-local)` : `${TITLES[query]} in ${TITLES[key]}`;
  return `${from}, after ${step} (${size.join("×")})`;
}
