// The page of a store in numbers: what it holds, what is missing, and what is being written.

import {getJSON, query} from "./api.js";
import {drawBars, drawHistogram, drawLegend} from "./charts.js";
import {h, markCode} from "./dom.js";
import {formatBytes, formatCount, formatMoment, formatNoun, formatNumber, formatSeconds}
  from "./format.js";

const TOP = 20;
const MOST = 500;
const DISTRIBUTIONS = [
  ["duration", "Length", "s"], ["fps", "Frame rate", "frames/s"], ["motion", "Mean motion", "px"],
];

/** Show the page; see main.js. */
export async function show(main, path, search, signal) {
  const state = h("span", {class: "quiet", role: "status"});
  const refresh = h("button", {type: "button", onclick: () => load()}, "Refresh");
  const body = h("div", {class: "overview"});
  main.append(h("div", {class: "title-row"}, h("h1", {}, "Overview"), state, refresh), body);

  async function load() {
    refresh.disabled = true;
    try {
      const facts = await getJSON("/api/overview", signal);
      body.replaceChildren(...drawFacts(facts));
      state.textContent = `read at ${formatMoment(facts.read_at)}`;
    } catch (error) {
      if (signal.aborted) return;
      body.prepend(h("p", {class: "error", role: "alert"}, error.message));
    } finally {
      refresh.disabled = false;
    }
  }
  await load();
}

function drawFacts(facts) {
  const bytes = Object.values(facts.shards).reduce((total, {bytes}) => total + bytes, 0);
  const numbers = [
    [facts.videos, "videos"], [facts.frames, "frames"], [facts.classes.length, "classes"],
  ].map(([number, noun]) => [formatCount(number), noun]);
  numbers.push([formatSeconds(facts.duration), "in all"], [formatBytes(bytes), "on disk"]);
  return [
    h("p", {class: "quiet"}, [
      facts.dataset && `dataset ${facts.dataset}`, facts.path,
      `made by ${facts.creator}, ${facts.created.replace("T", " ").replace("Z", " UTC")}`,
    ].filter(Boolean).join(" · ")),
    drawWriting(facts),
    h("dl", {class: "numbers"}, numbers.map(([number, noun]) =>
      h("div", {}, h("dt", {}, noun), h("dd", {}, number)))),
    h("div", {class: "panels"},
      drawRecipe(facts), drawStreams(facts), drawSubsets(facts), drawClasses(facts),
      DISTRIBUTIONS.map((distribution) => drawDistribution(facts, ...distribution)),
      drawFiles(facts)),
    drawAbsent(facts),
  ].filter(Boolean);
}

function panel(title, ...children) {
  return h("section", {class: "panel", "aria-label": title}, h("h2", {}, title), children);
}

function browse(values) {
  return `/browse${query(values)}`;
}

function drawWriting({writing, running, leftover, stale, quarantined}) {
  const lines = [
    writing.length && `Being written now: ${writing.join(", ")}.`,
    running.length && `Parts being extracted now: ${running.join(", ")}.`,
    stale && `${formatNoun(stale, "shard")} not in the index yet: their videos are not shown. ` +
      "The run adds them at its end, or `flowkit index` now.",
    leftover.length && `Left by a run that was killed: ${leftover.join(", ")}. The next run ` +
      "recovers their videos.",
    quarantined && `${formatNoun(quarantined, "damaged shard")} in quarantine/, moved there by ` +
      "`flowkit verify --repair`.",
  ].filter(Boolean);
  return lines.length ?
    h("ul", {class: "notices", "aria-label": "State"}, lines.map((line) => h("li", {}, markCode(line)))) : null;
}

function drawRecipe({recipe, features}) {
  return panel("Recipe", h("ul", {class: "plain"},
    recipe.split(" · ").map((part) => h("li", {}, part)),
    Object.entries(features).map(([name, text]) => h("li", {}, `features/${name}: ${text}`))));
}

function drawStreams({streams, videos}) {
  const bars = Object.entries(streams).map(([name, count]) => ({name, parts: [count], href: null}));
  return panel("Streams", bars.length ?
    drawBars(bars, {max: videos, label: "Videos by stream"}) : quiet("No stream yet."));
}

function drawSubsets({subsets, videos}) {
  const names = Object.keys(subsets);
  const bars = names.map((name, k) => ({
    name, parts: names.map((_, other) => (other === k ? subsets[name] : 0)),
    href: browse({subset: name}),
  }));
  return panel("Subsets", bars.length ?
    drawBars(bars, {max: videos, label: "Videos by subset"}) :
    quiet("No video is in a subset. `flowkit split` makes subsets."));
}

function drawClasses({classes, subsets}) {
  const series = Object.keys(subsets);
  const max = Math.max(...classes.map(({videos}) => videos), 1);
  const list = h("div", {class: "class-list", tabindex: 0, role: "region", "aria-label": "Classes"});
  const note = h("p", {class: "quiet", role: "status"});

  function draw(text) {
    const lower = text.trim().toLowerCase();
    const found = classes.filter(({name}) => name.toLowerCase().includes(lower));
    const shown = found.slice(0, MOST);
    const hasParts = ({videos, by_subset: parts}) =>
      parts.length > 0 && parts.reduce((total, part) => total + part, 0) === videos;
    list.replaceChildren(drawBars(shown.map((entry) => ({
      name: entry.name, total: entry.videos, href: browse({class: entry.name}),
      parts: hasParts(entry) ? entry.by_subset : [entry.videos],
    })), {max, series, label: "Videos by class"}));
    note.textContent = !found.length ? "No class has this in its name." :
      shown.length < found.length ? `The first ${MOST} of ${formatCount(found.length)}.` : "";
  }

  if (!classes.length) return panel("Classes", quiet("No video has a label."));
  draw("");
  return panel(`Classes (${formatCount(classes.length)})`,
    classes.length > TOP ? h("input", {
      type: "search", class: "class-search", placeholder: "Find a class", "aria-label": "Find a class",
      oninput: (event) => draw(event.target.value),
    }) : null,
    series.length > 1 ? drawLegend(series) : null, list, note);
}

function drawDistribution({histograms}, name, title, unit) {
  const histogram = histograms[name];
  const {counts, unknown, mean, low, high} = histogram;
  const rest = unknown ? ` Unknown of ${formatNoun(unknown, "video")}.` : "";
  if (!counts.length) return panel(title, quiet("Known of no video."));
  if (low === high) {
    return panel(title, h("p", {}, `${formatNumber(low)} ${unit}, the same in ` +
      `${formatNoun(counts[0], "video")}.${rest}`));
  }
  const link = (from, to) => browse({
    where: `${name}>=${from}` + (to === null ? "" : ` and ${name}<${to}`),
  });
  return panel(title, drawHistogram(histogram, {label: `Videos by ${title.toLowerCase()}`, unit, link}),
    quiet(`${formatNumber(low)} to ${formatNumber(high)} ${unit}, mean ${formatNumber(mean)}.${rest}`));
}

function drawAbsent({failures, missing}) {
  const kinds = Object.entries(failures.kinds).map(([kind, count]) => `${kind} ${formatCount(count)}`);
  const parts = [];
  if (failures.total) {
    parts.push(
      h("p", {}, h("a", {href: browse({status: "failed"})},
        `${formatNoun(failures.total, "video")} failed`), ` (${kinds.join(", ")})`),
      h("div", {class: "scroll", tabindex: 0, role: "region", "aria-label": "Videos that failed"},
        h("table", {}, h("thead", {}, h("tr", {},
          ["Video", "Reason", "Attempts"].map((title) => h("th", {scope: "col"}, title)))),
        h("tbody", {}, failures.listed.map(({id, kind, reason, attempts}) => h("tr", {},
          h("td", {class: "id"}, id), h("td", {}, h("b", {}, kind), ` ${reason}`),
          h("td", {class: "number"}, formatCount(attempts))))))));
  }
  if (missing.total) {
    parts.push(
      h("p", {}, h("a", {href: browse({status: "missing"})},
        `${formatNoun(missing.total, "video")} missing`), ": annotated, but not in the store."),
      h("details", {}, h("summary", {}, missing.total > missing.listed.length ?
        `The first ${formatCount(missing.listed.length)}` : "Their ids"),
      h("ul", {class: "plain scroll ids"}, missing.listed.map((id) => h("li", {}, id)))));
  }
  const title = "Failed and missing videos";
  if (!parts.length) return panel(title, quiet("None failed, and every annotated video is in the store."));
  return panel(title, parts);
}

function drawFiles({shards, verified}) {
  const rows = Object.entries(shards);
  if (!rows.length) return panel("Shards", quiet("No shard has been committed yet."));
  return panel("Shards", h("table", {},
    h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "Folder"),
      ["Shards", "Size"].map((title) => h("th", {scope: "col", class: "number"}, title)))),
    h("tbody", {}, rows.map(([folder, {count, bytes}]) => h("tr", {}, h("th", {scope: "row"}, folder),
      h("td", {class: "number"}, formatCount(count)),
      h("td", {class: "number"}, formatBytes(bytes)))))), drawVerified(verified));
}

/** When `flowkit verify` last checked the store, and what it found. */
function drawVerified(verified) {
  if (!verified) return quiet("Not verified yet: `flowkit verify`.");
  const {time, deep, problems, first} = verified;
  const when = new Date(1000 * time).toISOString().slice(0, 16).replace("T", " ");
  const text = `Verified ${when} UTC${deep ? ", every image decoded" : ""}: `;
  if (!problems) return quiet(`${text}all good.`);
  return [h("p", {class: "error"}, `${text}${formatCount(problems)} problems.`),
    h("ul", {}, first.map((line) => h("li", {}, line)))];
}

function quiet(text) {
  return h("p", {class: "quiet"}, markCode(text));
}
