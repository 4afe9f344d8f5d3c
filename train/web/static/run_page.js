// The page of one run: the tables of the report, its errors by class, what it gained over another
// run, its training curves, and its videos. The query holds score, against, true, predicted, sort.

import {getJSON} from "/static/api.js";
import {h} from "/static/dom.js";
import {rememberState} from "/static/main.js";
import {makeConfusion} from "./confusion.js";
import {makeCurves} from "./curves.js";
import {makeGains} from "./gains.js";
import {fillBox, makeChoice, makeSection, makeTable} from "./parts.js";
import {VideoList} from "./video_list.js";

/** Show a run. */
export async function show(main, key, query, signal) {
  const path = `/api/runs/${encodeURIComponent(key)}`;
  const [run, {runs}] = await Promise.all([getJSON(path, signal), getJSON("/api/runs", signal)]);
  if (signal.aborted) return;
  const page = h("article", {class: "runs"}, makeHead(run));
  main.replaceChildren(page);
  if (run.tables.length) {
    page.append(makeSection("Scores", run.tables.map(({rows, caption}) => makeTable(rows, caption))));
    if (run.labels === "one") showErrors(page, path, run, query, signal);
    else page.append(h("p", {class: "quiet"}, "Videos have many labels, so there is no confusion matrix."));
    const others = runs.filter((other) => other.key !== run.key && other.scores.length);
    if (others.length && run.labels === "one") showGains(page, path, others, query, signal);
  }
  const curves = h("div");
  page.append(makeSection("Training", curves));
  fillBox(curves, signal, async () => makeCurves(await getJSON(`${path}/curves`, signal)));
}

function makeHead(run) {
  const about = [run.title, run.paper].filter((text) => text).join(" · ");
  return [
    h("p", {class: "back"}, h("a", {href: "/runs"}, "← All runs")),
    h("h1", {}, run.name),
    h("p", {class: "quiet"}, about),
    [run.state, run.note].filter((text) => text).map((text) => h("p", {class: "notice"}, text)),
    h("p", {class: "quiet"}, run.attention.kind
      ? `Attention (${run.attention.kind}): open a video to ask it.` : run.attention.reason),
  ];
}

/** Show the confusion matrix, and below it the videos of the chosen cell. */
function showErrors(page, path, run, query, signal) {
  let score = run.scores.includes(query.get("score")) ? query.get("score") : run.best;
  const box = h("div"), listBox = h("div");
  const videos = new VideoList(listBox, `${path}/videos`, {
    score, sort: query.get("sort") ?? "wrong", true: query.get("true") ?? "", predicted: query.get("predicted") ?? "",
  }, signal);
  const load = () => fillBox(box, signal, async () => {
    const matrix = await getJSON(`${path}/confusion?score=${encodeURIComponent(score)}`, signal);
    videos.setClasses(matrix.classes);
    return makeConfusion(matrix, videos.cell, (cell) => {
      videos.setCell(cell);
      listBox.scrollIntoView({block: "nearest"});
    });
  });
  const choose = makeChoice("Score", run.scores.map((name) => [name, name]), score, (value) => {
    score = value;
    rememberState({score: value === run.best ? "" : value});
    videos.setScore(value);
    load();
  });
  page.append(makeSection("Confusions", choose, box), makeSection("Videos", listBox));
  load();
  videos.load();
}

function showGains(page, path, others, query, signal) {
  const box = h("div");
  let against = others.find(({key}) => key === query.get("against"))?.key ?? others[0].key;
  const load = () => fillBox(box, signal, async () => {
    const facts = await getJSON(`${path}/gains?against=${encodeURIComponent(against)}`, signal);
    return makeGains(facts, others.find(({key}) => key === against).name);
  });
  const choose = makeChoice("Compared with", others.map(({key, name}) => [key, name]), against, (value) => {
    against = value;
    rememberState({against});
    load();
  });
  page.append(makeSection("Classes that gained and lost", choose, box));
  load();
}
