// The page of all runs: one row for each, with its best score. A path with a key shows one run.

import {getJSON} from "/static/api.js";
import {h} from "/static/dom.js";
import {formatPercent} from "./parts.js";

/** Show the runs, or the run whose key the path has. */
export async function show(main, words, query, signal) {
  if (words[1]) {
    const page = await import("./run_page.js");
    return page.show(main, words[1], query, signal);
  }
  const {runs} = await getJSON("/api/runs", signal);
  main.replaceChildren(h("article", {class: "runs"}, h("h1", {}, "Runs"), makeList(runs)));
}

function makeList(runs) {
  const metrics = {};
  for (const run of runs) Object.assign(metrics, run.metrics);
  const head = ["run", "score", ...Object.values(metrics), "videos", "attention", ""];
  const rows = runs.map((run) => {
    const best = run.results[run.best] ?? null;
    return h("tr", {},
      h("th", {scope: "row"}, h("a", {href: `/runs/${run.key}`}, run.name),
        h("span", {class: "quiet about"}, run.title)),
      h("td", {}, run.best ?? "–"),
      Object.keys(metrics).map((key) => h("td", {class: "number"},
        best && key in best ? formatPercent(best[key]) : "–")),
      h("td", {class: "number"}, best ? String(best.n) : "–"),
      h("td", {}, run.attention.kind ?? "–"),
      h("td", {class: "quiet"}, run.state || run.note || ""));
  });
  const caption = "The score that represents each run: its last fusion, or its last score.";
  return [h("p", {class: "quiet caption"}, caption),
    h("div", {class: "run-scroll"}, h("table", {class: "run-table run-list", "aria-label": caption},
      h("thead", {}, h("tr", {}, head.map((text) => h("th", {scope: "col"}, text)))),
      h("tbody", {}, rows)))];
}
