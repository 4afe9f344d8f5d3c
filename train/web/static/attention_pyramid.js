// Ask pyramid attention: for a position of the map that it computes, the salient positions of each
// scale in several frames of the video.

import {getJSON, query as makeQuery} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {Picture} from "./heat.js";

/** Fill the box with the frames, and the map whose positions one can click. */
export async function showPyramid(box, {path, phase, video, player}, signal) {
  const position = new URLSearchParams(location.search).get("position") ?? "0";
  const load = (index) => getJSON(`${path}/positions${makeQuery({phase, position: index})}`, signal);
  let facts = await load(/^\d+$/.test(position) ? position : "0");
  if (signal.aborted) return;
  const stream = phase.endsWith("flow") ? "flow" : "rgb";
  const pictures = facts.times.map((t) => new Picture({video, stream, t, box: facts.box, title: `frame ${t}`}));
  const reading = h("p", {class: "reading", role: "status"});
  const [rows, columns] = facts.size;
  let asked = 0;
  const ask = async (index) => {
    const number = ++asked;
    rememberState({position: index || ""});
    try {
      const answer = await load(index);
      if (number === asked && !signal.aborted) draw(answer);
    } catch (error) {
      if (!signal.aborted) reading.textContent = error.message;
    }
  };
  const buttons = Array.from({length: rows * columns}, (_, i) => h("button", {
    type: "button", "aria-label": `row ${Math.floor(i / columns) + 1}, column ${i % columns + 1}`, onclick: () => ask(i),
  }));
  const draw = (answer) => {
    facts = answer;
    buttons.forEach((button, i) => button.toggleAttribute("aria-current", i === answer.position));
    const radius = Math.max(video.width, video.height) / 50;
    pictures.forEach((picture, k) => {
      picture.clear();
      answer.scales.forEach((frames, scale) => {
        const size = radius * (1 - 0.28 * (answer.scales.length - 1 - scale));
        picture.drawDots(frames[k], [answer.weights[scale][k].length, answer.weights[scale][k][0].length],
          `scale-${scale + 1}`, answer.scales.length === 1 ? radius : radius * 1.4 - scale * radius * 0.45 || size);
      });
    });
    const count = answer.scales.at(-1).reduce((sum, cells) => sum + cells.length, 0);
    reading.textContent = `Position ${answer.position + 1} of ${rows} × ${columns}: ${count} salient positions of all scales `
      + `(more than ${answer.threshold} of the largest weight).`;
  };
  const names = ["1 scale", "2 scales", "3 scales"];
  const map = h("div", {class: "position-map", role: "group", "aria-label": "Position of the map"}, buttons);
  map.style.gridTemplateColumns = `repeat(${columns}, 1fr)`;
  for (const {stage} of pictures) stage.classList.add("small");
  box.replaceChildren(
    h("p", {class: "quiet"}, "Choose a position of the map that attention computes; the dots are the positions of the frames that it reads most."),
    h("div", {class: "pyramid"}, map, h("div", {class: "frames"}, pictures.map(({element, stage}, k) => {
      stage.addEventListener("click", () => player.seek(facts.times[k]));
      return element;
    }))),
    h("ul", {class: "run-legend"}, facts.scales.map((_, i) => h("li", {}, h("span", {class: `run-swatch dot scale-${i + 1}`}), names[i]))),
    reading);
  draw(facts);
}
