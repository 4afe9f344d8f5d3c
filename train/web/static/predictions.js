// The panel "Predictions" of a video's page: the top five of each branch and of the fusion, by run.

import {getJSON} from "/static/api.js";
import {h} from "/static/dom.js";
import {formatPercent} from "./parts.js";

/** Fill the panel. */
export async function showPredictions(element, {video}, signal) {
  let runs;
  try {
    ({runs} = await getJSON(`/api/video/${video.key}/runs`, signal));
  } catch (error) {
    if (!signal.aborted) element.append(h("p", {class: "error"}, error.message));
    return;
  }
  if (!signal.aborted) element.append(...runs.map(makeRun));
}

function makeRun({key, name, evaluated, groups, state}) {
  const head = h("h3", {}, h("a", {href: `/runs/${key}`}, name));
  if (!groups.length) {
    const reason = evaluated ? "This run did not score the video: it is not one of its test videos." : state;
    return h("div", {class: "run"}, head, h("p", {class: "quiet"}, reason));
  }
  const earlier = groups.slice(0, -1);
  return h("div", {class: "run"}, head, makeGroup(groups.at(-1)),
    earlier.length ? h("details", {}, h("summary", {}, `Other scores of this run (${earlier.length})`), earlier.map(makeGroup)) : null);
}

function makeGroup({name, branches}) {
  return h("div", {class: "group"}, name ? h("h4", {}, name) : null,
    h("div", {class: "branches"}, branches.map(({title, top}) => h("section", {"aria-label": `${name} ${title}`},
      h("h5", {}, title), h("ol", {class: "top"}, top.map(makeClass))))));
}

function makeClass({class: name, probability, right}) {
  const bar = h("span", {class: "share", "aria-hidden": "true"});
  bar.style.width = `${100 * probability}%`;
  return h("li", {class: right ? "right" : null}, bar,
    h("span", {class: "name"}, name, right ? h("span", {title: "the right class"}, " ✓") : null),
    h("span", {class: "number"}, formatPercent(probability)));
}
