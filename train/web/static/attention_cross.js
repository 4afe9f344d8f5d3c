// Ask cross-modality and non-local attention: a click on a point of one picture shows, as heat and
// arrows over the other one, where the network attends from there. A network on clips attends over
// the frames of the clip too: then each picture has a row of steps below it (attention_steps.js), for
// the frame that asks, and for the attended frame with the shares of the weight.

import {getJSON, query as makeQuery} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {StepRow, moveStep, nameFrames} from "./attention_steps.js";
import {Picture} from "./heat.js";
import {formatPercent, makeChoice} from "./parts.js";

const TITLES = {rgb: "RGB", flow: "Flow"};
const ONE_STEP = [null];

/** Fill the box with the pictures of a snippet or clip and the choice of its blocks. */
export async function showCross(box, {path, phase, video, player}, signal) {
  const state = new URLSearchParams(location.search);
  const show = async (snippet, blockName, point, steps = {}) => {
    const facts = await getJSON(`${path}/blocks${makeQuery({phase, snippet})}`, signal);
    if (signal.aborted) return;
    new Question(box, {path, phase, video, player, facts, blockName, point, show, ...steps}, signal);
  };
  const point = (state.get("at") ?? "").split(",").map(Number);
  const isPoint = point.length === 2 && point.every((value) => value >= 0 && value < 1);
  const [step, shown] = ["step", "shown"].map((name) => /^\d+$/.test(state.get(name) ?? "") ? Number(state.get(name)) : null);
  await show(state.get("snippet") ?? "", state.get("block"), isPoint ? point : [0.5, 0.5], {step, shown});
}

/** The pictures of one snippet or clip, and what is asked. */
class Question {
  constructor(box, options, signal) {
    Object.assign(this, {step: null, shown: null}, options, {signal, asked: 0});
    const {facts, video, player, blockName} = options;
    if (!facts.blocks.length) {
      box.replaceChildren(h("p", {class: "quiet"}, "No block of this phase is trained yet: each passes its input on unchanged."));
      return;
    }
    this.block = facts.blocks.find(({name}) => name === blockName) ?? facts.blocks.at(-1);
    const t = facts.times[facts.snippet];
    this.pictures = ["rgb", "flow"].map((stream) => new Picture({video, stream, t, box: facts.box, title: `${TITLES[stream]}, frame ${t}`}));
    this.rows = this.pictures.map((_, i) => new StepRow((step) => this.#choose(i, step)));
    this.reading = h("p", {class: "reading", role: "status"});
    this.under = h("p", {class: "quiet reading"});
    this.pictures.forEach((picture, i) => this.#listen(picture, i));
    this.seek = h("button", {type: "button", onclick: () => player.seek(this.seen)});
    this.hint = h("p", {class: "quiet hint"});
    box.replaceChildren(
      h("div", {class: "ask-bar"}, this.#makeChoices(), this.seek), this.hint,
      h("div", {class: "ask-pictures"}, this.pictures.map(({element}, i) => h("div", {}, element, facts.clip ? this.rows[i].element : null))),
      this.reading, this.under,
      facts.untrained.length ? h("p", {class: "quiet"}, `Not trained in this phase, and left out: ${facts.untrained.join(", ")}.`) : "");
    this.ask(this.point);
  }

  /** Return the steps of a block's features; a snippet has one. */
  get steps() {
    return this.block.steps ?? ONE_STEP;
  }

  /** Return which picture asks and which is attended; frames of a clip that attends to itself differ. */
  get roles() {
    const {block, facts} = this;
    if (facts.clip && block.key === block.query) return {asks: 0, attended: 1, streams: [block.query, block.query]};
    const streams = ["rgb", "flow"];
    return {asks: streams.indexOf(block.query), attended: streams.indexOf(block.key), streams};
  }

  #makeChoices() {
    const {facts} = this;
    this.choice = makeChoice("Block", facts.blocks.map((block) => [block.name, describe(block)]), this.block.name, (name) => {
      this.#setBlock(facts.blocks.find((block) => block.name === name));
      this.ask(this.point);
    });
    const snippets = facts.times.map((t, i) => [String(i), `${i + 1} of ${facts.times.length}, frame ${t}`]);
    return [this.choice, facts.times.length > 1 ? makeChoice("Snippet", snippets, String(facts.snippet), (snippet) => {
      rememberState({snippet});
      this.show(snippet, this.block.name, this.point).catch((error) => this.#fail(error));
    }) : ""];
  }

  /** Change the block; chosen steps stay where they are in the clip. */
  #setBlock(block) {
    const count = this.steps.length;
    this.block = block;
    for (const name of ["step", "shown"]) {
      if (this[name] !== null) this[name] = moveStep(this[name], count, this.steps.length);
    }
    this.choice.querySelector("select").value = block.name;
  }

  #listen(picture, i) {
    const {stage} = picture;
    stage.addEventListener("click", (event) => {
      const point = picture.pointOf(event);
      if (!point) this.reading.textContent = "The network does not see this point: it is outside of the marked square.";
      else if (i === this.roles.asks || this.#turn(i)) this.ask(point);
    });
    stage.addEventListener("pointermove", (event) => this.#read(i, picture.pointOf(event)));
    stage.addEventListener("pointerleave", () => { this.under.textContent = ""; });
    stage.addEventListener("keydown", (event) => {
      const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
      if (!move || i !== this.roles.asks) return;
      event.preventDefault();
      event.stopPropagation();
      const [rows, columns] = this.block.size.slice(-2);
      const inside = (value) => Math.min(Math.max(value, 0), 0.999);
      this.ask([inside(this.point[0] + move[0] / columns), inside(this.point[1] + move[1] / rows)]);
    });
  }

  /** Let the other picture ask, at the frame that it shows; return whether it can. */
  #turn(i) {
    const stream = this.roles.streams[i];
    if (stream !== this.block.query) {
      const place = this.block.name.split("/")[1];
      const blocks = this.facts.blocks.filter(({query}) => query === stream);
      const block = blocks.find(({name}) => name.endsWith(`/${place}`)) ?? blocks.at(-1);
      if (!block) {
        this.reading.textContent = `No trained block of this phase attends from ${TITLES[stream]}. Click the other picture.`;
        return false;
      }
      if (this.facts.clip) this.step = this.seenStep;
      this.#setBlock(block);
    } else if (this.facts.clip) this.step = this.seenStep;
    this.shown = null;
    return true;
  }

  /** Choose the step of a picture: the one that asks, or the attended one that is shown. */
  #choose(i, step) {
    if (i === this.roles.asks) {
      this.step = step;
      this.ask(this.point);
    } else {
      this.shown = step;
      this.#remember();
      if (this.answer) this.#draw(this.answer);
    }
  }

  #remember() {
    const [x, y] = this.point;
    rememberState({block: this.block.name, at: `${x.toFixed(3)},${y.toFixed(3)}`, step: this.step ?? "", shown: this.shown ?? ""});
  }

  /** Ask where the block attends from a point, as fractions of the crop. */
  async ask(point) {
    this.point = point;
    const {block, path, phase, facts, signal, roles} = this;
    const number = ++this.asked;
    if (this.step >= this.steps.length) this.step = null;
    if (this.shown >= this.steps.length) this.shown = null;
    const target = block.key !== block.query ? TITLES[block.key] : facts.clip ? "the same stream" : "the same picture";
    this.hint.textContent = `Click a point of the ${TITLES[block.query]} picture to see where it attends in `
      + `${facts.clip ? "all frames of " : ""}${target}: from dark (no weight) to bright (the highest weight).`;
    this.pictures.forEach(({stage}, i) => {
      stage.classList.toggle("asking", i === roles.asks);
      if (i === roles.asks) stage.setAttribute("tabindex", "0");
      else stage.removeAttribute("tabindex");
    });
    this.#remember();
    const [x, y] = point;
    try {
      const answer = await getJSON(`${path}/point${makeQuery({phase, snippet: facts.snippet, block: block.name, x, y, step: this.step ?? ""})}`, signal);
      if (number === this.asked && !signal.aborted) this.#draw(answer);
    } catch (error) {
      this.#fail(error);
    }
  }

  #draw(answer) {
    this.answer = answer;
    const {block, facts} = this, {asks, attended, streams} = this.roles;
    const isClip = Boolean(facts.clip);
    const planes = isClip ? answer.weights : [answer.weights];
    const shares = isClip ? answer.shares : [1];
    const own = isClip ? answer.query[0] : 0;
    const cell = answer.query.slice(-2), size = block.size.slice(-2), pooled = block.pooled.slice(-2);
    const seen = this.seenStep = isClip ? this.shown ?? shares.indexOf(Math.max(...shares)) : 0;
    this.plane = planes[seen];
    this.pictures.forEach((picture, i) => {
      picture.clear();
      if (isClip) this.#showStep(i, streams[i], i === asks ? own : seen, own, i === attended ? shares : null);
    });
    const source = this.pictures[asks], target = this.pictures[attended];
    target.showHeat(this.plane, Math.max(...planes.flat(2)));
    const start = target.middleOf(cell, size);
    for (const [row, column, opacity] of [...(isClip ? answer.arrows[seen] : answer.arrows)].reverse()) {
      target.drawArrow(start, target.middleOf([row, column], pooled), opacity);
    }
    target.markCell(cell, size, own !== seen);
    if (asks !== attended) source.markCell(cell, size);
    this.seen = isClip ? this.steps[seen].frame : facts.times[facts.snippet];
    this.seek.textContent = `Show frame ${this.seen} in the player`;
    this.reading.textContent = this.#describe(cell, size, pooled, own, seen, shares);
  }

  #showStep(i, stream, step, own, shares) {
    const {steps, rows, pictures} = this;
    pictures[i].setFrame(stream, steps[step].frame, `${TITLES[stream]}, frame ${steps[step].frame}`);
    rows[i].show(shares ? "Share of the weight by frames (orange: those that ask)" : "Frames that ask", steps, {chosen: step, own, shares});
  }

  #describe(cell, size, pooled, own, seen, shares) {
    const {plane, steps, facts, answer} = this;
    const [row, column] = (facts.clip ? answer.arrows[seen] : answer.arrows)[0];
    const at = facts.clip ? ` of ${nameFrames(steps[own])}` : "";
    const share = facts.clip ? `${formatPercent(shares[seen])} of the weight on ${nameFrames(steps[seen])}${own === seen ? ", its own" : ""}; there, the ` : "";
    return `From row ${cell[0] + 1}, column ${cell[1] + 1} of ${size.join(" × ")}${at}: ${share}highest weight `
      + `${formatPercent(plane[row][column])} at row ${row + 1}, column ${column + 1} of ${pooled.join(" × ")}; `
      + `equal weights would be ${formatPercent(1 / (pooled[0] * pooled[1] * steps.length))} each.`;
  }

  #read(i, point) {
    if (i !== this.roles.attended || !point || !this.plane) {
      this.under.textContent = "";
      return;
    }
    const {plane} = this;
    const [row, column] = [Math.floor(point[1] * plane.length), Math.floor(point[0] * plane[0].length)];
    this.under.textContent = `Weight at row ${row + 1}, column ${column + 1}: ${(100 * plane[row][column]).toPrecision(4)} %`;
  }

  #fail(error) {
    if (!this.signal.aborted && error.name !== "AbortError") this.reading.textContent = error.message;
  }
}

function describe({name, query, key, size}) {
  const step = name.split("/")[1];
  const from = key === query ? `${TITLES[query]}, non-local` : `${TITLES[query]} in ${TITLES[key]}`;
  return `${from}, ${step} (${size.join("×")})`;
}
