// The page of one video: its pictures, controls and time axis, and below them what is known about it.
//
// The query of the path holds the state: t (frame), speed, loop, view and scale of the flow.
// Other packages add panels with `addVideoPanel`.

import {FLOW_VIEWS, roundScale} from "./flow_colours.js";
import {FrameLoader} from "./frames.js";
import {Pictures} from "./pictures.js";
import {Player, SPEEDS} from "./player.js";
import {Timeline} from "./timeline.js";
import {formatScale, makeLegend} from "./legend.js";
import {getJSON, query as makeQuery} from "./api.js";
import {go, rememberState} from "./main.js";
import {h} from "./dom.js";
import {makeControls} from "./controls.js";
import {makeFacts, makePanel} from "./facts.js";
import {readPlace} from "./place.js";

const SCALES = [0.5, 1, 2, 3, 5, 10, 20, 50];
const REMEMBER_MS = 250;
const GUESSED_RATE = 25;
const panels = [];
let current = null;  // the page that is shown, for panels that come later

/**
 * Add a panel to the page of each video.
 * @param {string} title
 * @param {(element: HTMLElement, context: {video: object, player: Player}, signal: AbortSignal) =>
 *   void} show Fills the panel. Events and stages of the player: player.js, pictures.js. It may
 *   remove the element where it has nothing to show.
 */
export function addVideoPanel(title, show) {
  panels.push([title, show]);
  if (current && !current.signal.aborted) addPanel(current, title, show);
}

function addPanel({box, context, signal}, title, show) {
  const panel = makePanel(title);
  box.append(panel);
  show(panel, context, signal);
}

/** Show the page of the video whose key the path has. */
export async function show(main, [, key], query, signal) {
  const video = await getJSON(`/api/video/${encodeURIComponent(key)}`, signal);
  if (signal.aborted) return;
  if (video.frames && video.times && !video.times.length) {  // neither times nor a frame rate, or damaged times
    Object.assign(video, {times: null, interval: 1 / GUESSED_RATE, hasNoRate: true});
  }
  const parts = ["rgb", ...(video.flow ? ["flow_x", "flow_y"] : [])]
    .filter((part) => part !== "rgb" || video.streams.includes("rgb"));
  const loader = new FrameLoader(video.key, video, {parts, signal});
  const speed = Number(query.get("speed"));
  const player = new Player(video, loader, {
    t: Number(query.get("t")), loop: query.has("loop"),
    speed: SPEEDS.includes(speed) ? speed : 1, signal,
  });
  const extra = h("div", {class: "extra"});
  const page = h("article", {class: "video"}, makeHead(video, query));
  if (video.frames) showPlayer(page, player, query, signal);
  else page.append(h("p", {}, "This video has sound only: it has no pictures in this store."));
  const timeline = new Timeline(player, signal);
  page.append(timeline.element, extra, h("div", {class: "facts"}, makeFacts(video)));
  main.replaceChildren(page);
  listenToKeys(player, video, signal);
  if (video.frames) player.seek(player.t);
  if (video.flow) loadMotion(timeline, player, signal);
  current = {box: extra, context: {video, player}, signal};
  for (const [title, showPanel] of panels) addPanel(current, title, showPanel);
}

function makeHead(video, query) {
  const link = (target, text, rel, letter) => target
    ? h("a", {href: pathOf(target, query), rel, title: `${rel === "prev" ? "Previous" : "Next"} video (${letter})`}, text)
    : h("span", {class: "quiet", "aria-disabled": "true"}, text);
  const labels = [...new Set(video.labels.map(({name}) => name))];
  return h("div", {class: "video-head"},
    h("h1", {}, video.id),
    h("p", {class: "tags"}, labels.slice(0, 8).map((name) => h("span", {class: "tag"}, name)),
      labels.length > 8 ? h("span", {class: "quiet"}, `and ${labels.length - 8} more`) : null,
      video.subsets.map((name) => h("span", {class: "tag subset"}, name))),
    h("nav", {"aria-label": "Videos"}, link(video.previous, "← Previous", "prev", "k"),
      link(video.next, "Next →", "next", "j")));
}

function pathOf(key, query) {
  const kept = ["speed", "loop", "view", "scale"].map((name) => [name, query.get(name) ?? ""]);
  return `/video/${key}${makeQuery(Object.fromEntries(kept))}`;
}

function showPlayer(page, player, query, signal) {
  const {video} = player;
  const views = listViews(video);
  const view = query.get("view") in views ? query.get("view") : "colour";
  const chosen = Number(query.get("scale"));
  player.autoScale = video.flow ? guessScale(video) : 1;
  const scale = chosen > 0 && chosen < 1e6 ? chosen : null;
  const pictures = new Pictures(player, {view, scale: scale ?? player.autoScale}, signal);
  const below = h("div", {class: "below-pictures"}, pictures.reading);
  if (video.flow) below.append(makeFlowChoices(player, pictures, views, scale));
  page.append(h("section", {class: "player", "aria-label": "Player", "aria-live": "off"},
    pictures.element, below, makeControls(player)));
  let timer = null;
  const remember = () => {
    clearTimeout(timer);
    if (!player.isPlaying) {
      timer = setTimeout(() => {
        if (!signal.aborted) rememberState({t: player.t || "", speed: player.speed === 1 ? "" : player.speed, loop: player.loop ? 1 : ""});
      }, REMEMBER_MS);
    }
  };
  player.addEventListener("frame", remember);
  player.addEventListener("state", remember);
}

function listViews(video) {
  const views = {...FLOW_VIEWS};
  return video.streams.includes("rgb") ? {...views, arrows: "Arrows over RGB"} : views;
}

/** Guess a scale before the motion is measured. */
function guessScale({motion, flow}) {
  return motion ? Math.min(roundScale(1.5 * motion.p95), flow.bound) : flow.bound / 4;
}

function makeFlowChoices(player, pictures, views, scale) {
  const legend = h("div", {class: "legend-box"});
  const automatic = h("option", {value: ""});
  const scales = [...new Set([...SCALES, ...(scale ? [scale] : [])])].sort((a, b) => a - b);
  const viewChoice = h("select", {}, Object.entries(views).map(([name, text]) =>
    h("option", {value: name, selected: name === pictures.view}, text)));
  const scaleChoice = h("select", {}, automatic,
    scales.map((value) => h("option", {value, selected: value === scale}, `${formatScale(value)} px`)));
  const update = () => {
    automatic.textContent = `auto (${formatScale(player.autoScale)} px)`;
    pictures.setView({view: viewChoice.value, scale: Number(scaleChoice.value) || player.autoScale});
    legend.replaceChildren(makeLegend(pictures.view, pictures.scale));
  };
  const choose = () => {
    update();
    rememberState({view: viewChoice.value === "colour" ? "" : viewChoice.value, scale: scaleChoice.value});
  };
  for (const choice of [viewChoice, scaleChoice]) choice.addEventListener("change", choose);
  player.addEventListener("scale", update);
  update();
  return h("div", {class: "flow-choices"}, h("label", {}, "Flow ", viewChoice),
    h("label", {}, "Scale ", scaleChoice), legend);
}

async function loadMotion(timeline, player, signal) {
  let motion = null;
  try {
    motion = await getJSON(`/api/video/${player.video.key}/motion`, signal);
  } catch (error) {
    if (signal.aborted) return;
  }
  timeline.showMotion(motion);
  if (motion?.scale > 0) {
    player.autoScale = Math.min(roundScale(motion.scale), player.video.flow.bound);
    player.dispatchEvent(new Event("scale"));
  }
}

function listenToKeys(player, video, signal) {
  const leave = (key) => key && go(pathOf(key, readPlace().query));
  const actions = {
    " ": () => player.toggle(),
    ArrowLeft: (event) => player.step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => player.step(event.shiftKey ? 10 : 1),
    Home: () => player.seek(0), End: () => player.seek(video.frames - 1),
    j: () => leave(video.next), k: () => leave(video.previous),
    l: () => player.setLoop(!player.loop),
    "+": () => player.changeSpeed(1), "=": () => player.changeSpeed(1), "-": () => player.changeSpeed(-1),
    Escape: () => player.setPlace(null),
  };
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const {target, key} = event;
    if (target.closest?.("input, select, textarea")) return;
    if (key === " " && target.closest?.("button, a, summary")) return;
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action(event);
  }, {signal});
}
