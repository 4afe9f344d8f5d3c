// Show the page that the path says, and follow links without loading the document again.
//
// A page is a module with `show(main, path, query, signal)`: it fills `main`, and stops what it
// started (requests, timers, listeners) when `signal` is aborted. `pages` maps the first word of
// the path to its module; plugins add theirs with `addPage`.

import {h} from "./dom.js";
import {makeAddress, readLink, readPlace} from "./place.js";

const pages = new Map([
  ["", () => import("./overview.js")],
  ["browse", () => import("./browse.js")],
  ["video", () => import("./video.js")],
]);
let leaving = new AbortController();

/** Add a page, and a link to it. */
export function addPage(word, title, load) {
  pages.set(word, load);
  document.querySelector("header nav").append(h("a", {href: `/${word}`, "data-page": word}, title));
  if (readPlace().words[0] === word) showPage();
}

/** Go to a path of this page; `replace` keeps the history as it is. */
export function go(path, {replace = false} = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", makeAddress(path));
  showPage();
}

/** Change the query of the path, without showing the page again. Empty values are left out. */
export function rememberState(values) {
  const {pathname, query} = readPlace();
  for (const [name, value] of Object.entries(values)) {
    if (value === "" || value === null || value === false) query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history.replaceState(null, "", makeAddress(pathname + (text ? `?${text}` : "")));
}

async function showPage() {
  leaving.abort();
  leaving = new AbortController();
  const {signal} = leaving;
  const {words, query} = readPlace();
  const main = document.getElementById("page");
  for (const link of document.querySelectorAll("header nav a")) {
    const isCurrent = link.dataset.page === (words[0] || "overview");
    link.toggleAttribute("aria-current", isCurrent);
  }
  const load = pages.get(words[0]);
  main.replaceChildren();
  if (!load) return;  // a plugin may add it in a moment
  try {
    const page = await load();
    if (!signal.aborted) await page.show(main, words, query, signal);
  } catch (error) {
    if (signal.aborted) return;
    main.replaceChildren(h("p", {class: "error", role: "alert"}, error.message));
  }
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented) return;
  const link = event.target.closest?.("a[href]");
  const path = link && readLink(link);
  if (!path || link.target || link.hasAttribute("download")) return;
  if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  go(path);
});
window.addEventListener("popstate", showPage);
showPage();
