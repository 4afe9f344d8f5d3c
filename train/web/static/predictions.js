// The panel "Predictions" of a video's page: the top five of each branch and of the fusion, by run.

import {getJSON} from "/static/api.js";
import {h} from "/static/dom.js";
import {fillBox, formatPercent, makeChoice} from "./parts.js";

/** Fill the panel. */
export async function showPredictions(element, {video, player}, signal) {
  let runs;
  try {
    ({runs} = await getJSON(`/api/video/${video.key}/runs`, signal));
  } catch (error) {
    if (!signal.aborted) element.append(h("p", {class: "error"}, error.message));
    return;
  }
  if (!signal.aborted) element.append(...runs.map((run) => makeRun(run, video, player, signal)));
}

function makeRun({key, name, evaluated, groups, state, segments}, video, player, signal) {
  const head = h("h3", {}, h("a", {href: `/runs/${key}`}, name));
  const box = h("div");
  if (segments) {
    if (groups.length) box.append(h("p", {class: "quiet"}, segments));
  } else {
    const path = `/api/runs/${key}/segments/${video.key}`;
    box.append(h("button", {
      type: "button", class: "link", onclick: () => fillBox(box, signal, async () => makeSegments(await getJSON(path, signal), player)),
    }, "Score each segment alone"));
  }
  if (!groups.length) {
    const reason = evaluated ? "This run did not score the video: it is not one of its test videos." : state;
    return h("div", {class: "run"}, head, h("p", {class: "quiet"}, reason), box);
  }
  const earlier = groups.slice(0, -1);
  return h("div", {class: "run"}, head, makeGroup(groups.at(-1)), box,
    earlier.length ? h("details", {}, h("summary", {}, `Other scores of this run (${earlier.length})`), earlier.map(makeGroup)) : null);
}

function makeGroup({name, branches}) {
  return h("div", {class: "group"}, name ? h("h4", {}, name) : null,
    h("div", {class: "branches"}, branches.map(({title, top}) => h("section", {"aria-label": `${name} ${title}`},
      h("h5", {}, title), h("ol", {class: "top"}, top.map(makeClass))))));
}

/**
 * Make the best classes of one segment, and the choice of it; the player shows its frame. Branches
 * that were trained alone may read other frames; then each one says which.
 */
function makeSegments({scoring, times, branches}, player) {
  const box = h("div");
  const listFrames = (k) => [...new Set(branches.flatMap((branch) => (branch.times ? [branch.times[k]] : [])))];
  const show = (k) => {
    const differ = listFrames(k).length > 1;
    const lists = branches.map(({title, times: own, segments}) => ({
      title: differ && own ? `${title}, frame ${own[k]}` : title, top: segments[k],
    }));
    box.replaceChildren(makeGroup({name: `${scoring ? `${scoring}, ` : ""}segment ${k + 1} alone`, branches: lists}));
  };
  const options = times.map((_, k) => [String(k), `${k + 1} of ${times.length}, ${nameFrames(listFrames(k))}`]);
  show(0);
  return [makeChoice("Segment", options, "0", (k) => {
    show(Number(k));
    player.seek(times[k]);
  }), box];
}

function nameFrames(frames) {
  return `${frames.length > 1 ? "frames" : "frame"} ${frames.join(" and ")}`;
}

function makeClass({class: name, probability, right}) {
  const bar = h("span", {class: "share", "aria-hidden": "true"});
  bar.style.width = `${100 * probability}%`;
  return h("li", {class: right ? "right" : null}, bar,
    h("span", {class: "name"}, name, right ? h("span", {title: "the right class"}, " ✓") : null),
    h("span", {class: "number"}, formatPercent(probability)));
}
