// A row of the steps of a clip: a button for each, with the frames that it stands for, and above it,
// where there are shares, a bar for its share of the weight. Arrow keys go from step to step.

import {h} from "/static/dom.js";
import {formatPercent} from "./parts.js";

const MAX_NAMED = 8;

/** Name the frames that a step stands for, such as "frames 8–15". */
export function nameFrames({first, last}) {
  return first === last ? `frame ${first}` : `frames ${first}–${last}`;
}

/** Return the step of a block that lies where a step of another block lies in the clip. */
export function moveStep(step, count, newCount) {
  return Math.min(newCount - 1, Math.floor((step + 0.5) / count * newCount));
}

/** The steps of one block; call `show` after each change. */
export class StepRow {
  /** @param {(step: number) => void} choose Called with the step that is chosen. */
  constructor(choose) {
    this.choose = choose;
    this.buttons = [];
    this.title = h("p", {class: "quiet"});
    this.row = h("div", {class: "step-row", role: "group"});
    this.element = h("div", {class: "steps"}, this.title, this.row);
    this.row.addEventListener("keydown", (event) => this.#move(event));
  }

  /**
   * Show the steps.
   * @param {string} title What the row is for.
   * @param {{first: number, last: number}[]} steps
   * @param {{chosen: number, own: number, shares?: number[]}} state The step that is shown, the one
   *   that asks, and the share of the weight of each.
   */
  show(title, steps, {chosen, own, shares = null}) {
    if (this.steps !== steps) this.#make(steps);
    this.title.textContent = title;
    this.row.setAttribute("aria-label", title);
    const largest = shares ? Math.max(...shares) || 1 : 1;
    this.buttons.forEach((button, i) => {
      button.setAttribute("aria-pressed", String(i === chosen));
      button.tabIndex = i === chosen ? 0 : -1;
      button.classList.toggle("own", i === own);
      const words = [nameFrames(steps[i]), shares ? `${formatPercent(shares[i])} of the weight` : "", i === own ? "the frame that asks" : ""];
      const label = words.filter((text) => text).join(", ");
      button.setAttribute("aria-label", label);
      button.title = label;
      const [bar, share] = button.children;
      bar.hidden = !shares;
      share.hidden = !shares || steps.length > MAX_NAMED;
      if (!shares) return;
      bar.firstChild.style.height = `${100 * shares[i] / largest}%`;
      share.textContent = `${Math.round(100 * shares[i])} %`;
    });
  }

  #make(steps) {
    this.steps = steps;
    this.buttons = steps.map((step, i) => h("button", {type: "button", class: "step", onclick: () => this.choose(i)},
      h("span", {class: "step-bar"}, h("span", {class: "step-share"})), h("span", {class: "step-number"}),
      steps.length > MAX_NAMED ? null : h("span", {class: "step-frames"}, nameFrames(step).split(" ")[1])));
    this.row.replaceChildren(...this.buttons);
  }

  #move(event) {
    const at = this.buttons.indexOf(event.target.closest("button"));
    const last = this.buttons.length - 1;
    const next = {ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last}[event.key];
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (next < 0 || next > last) return;
    this.buttons[next].focus();
    this.choose(next);
  }
}
