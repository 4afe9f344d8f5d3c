// The buttons of the player: play, step, loop, speed; and where it is.

import {SPEEDS} from "./player.js";
import {formatTime} from "./timeline.js";
import {h} from "./dom.js";

const RATE_MS = 1000;
const KEYS = [
  ["space", "play, pause"], ["← →", "one frame"], ["shift ← →", "10 frames"], ["Home, End", "first, last frame"],
  ["j, k", "next, previous video"], ["l", "loop"], ["+ −", "speed"], ["Escape", "let the place go"],
];

/** Make the row of buttons of a player. */
export function makeControls(player) {
  const {video} = player;
  const button = (text, label, keys, action) => h("button", {
    type: "button", "aria-label": label, title: `${label} (${keys})`, onclick: action,
  }, text);
  const play = button("▶", "Play", "space", () => player.toggle());
  play.classList.add("play");
  const loop = button("Loop", "Loop", "l", () => player.setLoop(!player.loop));
  const speed = h("select", {onchange: () => player.setSpeed(Number(speed.value))},
    SPEEDS.map((value) => h("option", {value}, `${value}×`)));
  const position = h("span", {class: "position"});
  const rate = h("span", {class: "rate quiet"});

  const showState = () => {
    const label = player.isPlaying ? "Pause" : "Play";
    play.textContent = player.isPlaying ? "⏸\ufe0e" : "▶\ufe0e";
    play.setAttribute("aria-label", label);
    play.title = `${label} (space)`;
    loop.setAttribute("aria-pressed", player.loop);
    speed.value = player.speed;
    if (player.isWaiting) rate.textContent = "loading …";
    else if (!player.isPlaying) rate.textContent = "";
  };
  const showPosition = () => {
    const time = `${formatTime(player.timeOf(player.t))} / ${formatTime(video.duration)}`;
    position.textContent = `${time} · frame ${player.t} of ${video.frames}`;
    if (player.isPlaying) showRate();
  };
  let last = player.statistics;  // the rate is that of the last second or so
  const showRate = () => {
    const {since, shown, skipped} = player.statistics;
    if (last.since < since) last = {since, shown: 0, skipped: 0};
    const now = performance.now(), elapsed = now - last.since;
    if (elapsed < RATE_MS) return;
    rate.textContent = `${(1000 * (shown - last.shown) / elapsed).toFixed(1)} frames/s shown`
      + (skipped > last.skipped ? `, ${skipped - last.skipped} left out` : "");
    last = {since: now, shown, skipped};
  };
  player.addEventListener("state", showState);
  player.addEventListener("frame", showPosition);
  showState();
  showPosition();
  return h("div", {class: "controls", role: "group", "aria-label": "Controls"},
    button("−10", "10 frames back", "shift and ←", () => player.step(-10)),
    button("−1", "One frame back", "←", () => player.step(-1)),
    play,
    button("+1", "One frame on", "→", () => player.step(1)),
    button("+10", "10 frames on", "shift and →", () => player.step(10)),
    loop, h("label", {}, "Speed ", speed), position, rate,
    h("details", {class: "keys"}, h("summary", {}, "Keys"), h("dl", {}, KEYS.map(([keys, action]) =>
      [h("dt", {}, keys), h("dd", {}, action)]))));
}
