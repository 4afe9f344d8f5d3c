// The page with all videos as a grid of pictures, with filters. The URL holds filters and place.

import {getJSON, query} from "./api.js";
import {h} from "./dom.js";
import {FILTERS, FilterForm, VALUES, makeQuery} from "./filters.js";
import {formatCount, formatNoun} from "./format.js";
import {Grid} from "./grid.js";
import {rememberState} from "./main.js";
import {Preview} from "./preview.js";
import {drawTile} from "./tile.js";

const REMEMBER_MS = 300;

/** Show the page; see main.js. */
export async function show(main, path, search, signal) {
  let values = Object.fromEntries(VALUES.map((name) => [name, search.get(name) ?? ""]));
  let bound = 0, timer = null;
  const count = h("p", {class: "count", role: "status"});
  const message = h("div", {class: "message"});
  const preview = new Preview(signal);

  const grid = new Grid({
    signal,
    load: (offset, limit, stop) =>
      getJSON(`/api/videos${query({...makeQuery(values), offset, limit})}`, stop),
    draw: (video) => drawTile(video, {bound, signal}),
    onload: (answer) => {
      ({bound} = answer);
      count.textContent = describeCount(answer);
      message.replaceChildren(...(answer.total ? [] : drawEmpty(answer)));
    },
    onmove: (at) => {
      clearTimeout(timer);
      timer = setTimeout(() => rememberState({at: at || ""}), REMEMBER_MS);
    },
    onerror: (error) => {
      count.textContent = "";
      message.replaceChildren(
        h("p", {class: "error", role: "alert"}, error.message),
        h("button", {type: "button", onclick: () => grid.reset(grid.current)}, "Try again"),
        hasFilter() ? drawClear() : "");
    },
  });
  signal.addEventListener("abort", () => clearTimeout(timer));

  const form = new FilterForm(values, (changed) => {
    values = changed;
    clearTimeout(timer);
    rememberState({...values, at: ""});
    grid.reset();
  });

  const hasFilter = () => FILTERS.some((name) => values[name]);

  function describeCount({total, stored}) {
    const all = values.status || total === stored ? "" : ` of ${formatCount(stored)}`;
    return `${formatCount(total)}${all} ${total === 1 && !all ? "video" : "videos"}`;
  }

  function drawEmpty({stored}) {
    if (hasFilter()) return [h("p", {}, "No video matches these filters."), drawClear()];
    return [h("p", {}, stored ? "There is no such video." : "The store has no videos yet.")];
  }

  function drawClear() {
    return h("button", {type: "button", onclick: () => {
      const {sort, descending} = values;
      form.setValues({sort, descending});
      form.onchange(form.getValues());
    }}, "Clear all filters");
  }

  main.append(h("h1", {class: "hidden"}, "Browse"), form.element, count, message, grid.element);
  addPreview(grid, preview, () => bound, signal);
  addKeys(grid, form, signal);
  await grid.reset(Number(search.get("at")) || 0);
  loadChoices(form, signal);  // later, as counting takes longer than the first page
}

/** Offer classes and subsets when the server has counted them; the grid does not wait for it. */
async function loadChoices(form, signal) {
  try {
    const facts = await getJSON("/api/overview", signal);
    const names = facts.classes.map(({name}) => name).sort((a, b) => a.localeCompare(b, "en"));
    form.setChoices(names, Object.keys(facts.subsets), facts.orders);
  } catch { /* the grid says what is wrong with the server */ }
}

function addPreview(grid, preview, getBound, signal) {
  const start = ({target}) => {
    const tile = target.closest?.(".tile");
    const picture = tile?.querySelector(".picture:not(.empty)");
    if (picture) preview.play(picture, tile.video, getBound());
    else preview.stop();
  };
  const stop = ({target, relatedTarget}) => {
    const tile = target.closest?.(".tile");
    if (tile && !tile.contains(relatedTarget)) preview.stop();
  };
  for (const [name, listener] of [
    ["mouseover", start], ["focusin", start], ["mouseout", stop], ["focusout", stop],
  ]) grid.element.addEventListener(name, listener, {signal});
}

function addKeys(grid, form, signal) {
  const moves = {
    j: [1], k: [-1], ArrowRight: [1], ArrowLeft: [-1],
    ArrowDown: [1, {rows: true}], ArrowUp: [-1, {rows: true}],
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const isTyping = event.target.matches?.("input, select, textarea, summary, button");
    if (event.key === "Escape" && isTyping) {
      event.preventDefault();  // which would empty the text field
      grid.focus(grid.current);
    }
    if (isTyping) return;
    const move = moves[event.key];
    if (move && (event.key.length === 1 || grid.hasFocus())) grid.move(...move);
    else if (event.key === "/") form.text.focus();
    else if (event.key === "Home" && grid.hasFocus()) grid.focus(0);
    else if (event.key === "End" && grid.hasFocus()) grid.focus(grid.total - 1);
    else return;
    event.preventDefault();
  }, {signal});
}
