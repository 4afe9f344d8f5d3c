// The panel "Attention" of a video's page: choose a run that has attention, and ask it.

import {getJSON} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {makeChoice} from "./parts.js";

const KINDS = {
  "cross-modality": async () => (await import("./attention_cross.js")).showCross,
  pyramid: async () => (await import("./attention_pyramid.js")).showPyramid,
  sets: async () => (await import("./attention_sets.js")).showSets,
};

/** Fill the panel. */
export async function showAttention(element, {video, player}, signal) {
  let runs;
  try {
    ({runs} = await getJSON(`/api/video/${video.key}/runs`, signal));
  } catch (error) {
    if (!signal.aborted) element.append(h("p", {class: "error"}, error.message));
    return;
  }
  if (signal.aborted) return;
  const able = runs.filter(({attention}) => attention.kind);
  for (const {name, attention} of runs.filter((run) => !run.attention.kind)) {
    element.append(h("p", {class: "quiet"}, `${name}: ${attention.reason}`));
  }
  if (!able.length) return;
  const query = new URLSearchParams(location.search);
  let leaving = new AbortController();
  signal.addEventListener("abort", () => leaving.abort(), {once: true});
  const box = h("div", {class: "ask"}), bar = h("div", {class: "ask-bar"});
  element.append(bar, box);

  const show = async (run, phase) => {
    leaving.abort();
    leaving = new AbortController();
    const own = leaving.signal;
    rememberState({run: run === able[0] ? "" : run.key, phase: phase === run.attention.phases.at(-1) ? "" : phase});
    bar.replaceChildren(...makeChoices(able, run, phase, show));
    box.replaceChildren(h("p", {class: "quiet", role: "status"}, "Computing the attention on this machine's CPU …"));
    const path = `/api/runs/${run.key}/attention/${video.key}`;
    try {
      const fill = await KINDS[run.attention.kind]();
      await fill(box, {path, phase, video, player}, own);
    } catch (error) {
      if (!own.aborted) box.replaceChildren(h("p", {class: "error", role: "alert"}, error.message));
    }
  };
  const first = able.find(({key}) => key === query.get("run")) ?? able[0];
  const {phases} = first.attention;
  await show(first, phases.includes(query.get("phase")) ? query.get("phase") : phases.at(-1));
}

function makeChoices(able, run, phase, show) {
  const {phases} = run.attention;
  return [
    makeChoice("Run", able.map(({key, name}) => [key, name]), run.key, (key) => {
      const next = able.find((other) => other.key === key);
      show(next, next.attention.phases.at(-1));
    }),
    phases.length > 1 ? makeChoice("Phase", phases.map((name) => [name, name]), phase, (name) => show(run, name)) : null,
  ].filter((choice) => choice);
}
