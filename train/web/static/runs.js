// Add runs to the page: a page of all runs, a page of each run, and two panels on the page of a
// video. `flowkit view` imports this module only if it shows runs.

import {addPage} from "/static/main.js";
import {addVideoPanel} from "/static/video.js";
import {h} from "/static/dom.js";
import {folder} from "/static/place.js";

if (folder) (await import("./static_runs.js")).addRunAnswers();
document.head.append(h("link", {rel: "stylesheet", href: "/static/runs/runs.css"}));
addPage("runs", "Runs", () => import("./runs_page.js"));
addVideoPanel("Predictions", (element, context, signal) => {
  element.classList.add("wide", "predictions");
  import("./predictions.js").then(({showPredictions}) => showPredictions(element, context, signal));
});
addVideoPanel("Attention", (element, context, signal) => {
  element.classList.add("wide", "attention");
  import("./attention.js").then(({showAttention}) => showAttention(element, context, signal));
});
