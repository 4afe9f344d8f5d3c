// Draw one video as a tile of the grid: its picture, its id and its numbers.

import {h, markCode} from "./dom.js";
import {formatNoun, formatNumber, formatSeconds} from "./format.js";
import {drawField} from "./preview.js";

/**
 * Draw a tile. Its picture is requested by its method `showPicture`.
 * @param {object} video A video of `/api/videos`.
 * @param {{bound: number, signal: AbortSignal}} options `bound` is the largest displacement in
 *   pixels that the store holds.
 */
export function drawTile(video, {bound, signal}) {
  const {id, key, status, failure} = video;
  const facts = describeFacts(video);
  const classes = video.classes.join(", ");
  const picture = h("span", {class: "picture"});
  const name = h("span", {class: "id", title: id}, id);
  const lines = [
    h("span", {class: "quiet", title: classes}, classes || "no class"),
    h("span", {class: "quiet", title: failure?.reason}, facts),
  ];
  const label = [id, classes, facts, failure?.reason].filter(Boolean).join(", ");
  const tile = key === null ?
    h("div", {class: "tile", role: "group", "aria-label": label}, picture, name, lines) :
    h("a", {class: "tile", href: `/video/${key}`, "aria-label": label}, picture, name, lines);
  if (status !== "stored" || !video.thumbnail) {
    picture.classList.add("empty");
    picture.append(h("span", {}, describeEmpty(video)));
  } else {
    let isShown = false;
    tile.showPicture = () => {
      if (!isShown) showPicture(picture, video, bound, signal);
      isShown = true;
    };
  }
  tile.video = video;
  return tile;
}

function describeFacts({status, failure, duration, frames, motion, warnings}) {
  if (status === "missing") return "not in the store";
  if (failure) return `failed: ${failure.kind}`;
  return [
    frames ? (duration === null ? formatNoun(frames, "frame") : formatSeconds(duration)) : null,
    motion === null ? null : `${formatNumber(motion)} px`,
    warnings ? formatNoun(warnings, "warning") : null,
  ].filter(Boolean).join(" · ");
}

function describeEmpty({status, failure}) {
  if (failure) return failure.reason;
  return status === "missing" ? "annotated, but not in the store" : "no pictures";
}

function showPicture(picture, {key, thumbnail: {part, t}}, bound, signal) {
  const fail = () => {
    if (!picture.isConnected || signal.aborted) return;
    picture.classList.add("empty", "damaged");
    picture.replaceChildren(h("span", {}, markCode("The picture cannot be read. Check with `flowkit verify`.")));
  };
  if (part === "flow") {
    drawField(key, t, bound, signal).then((canvas) => picture.prepend(canvas), fail);
    return;
  }
  // The tile says what the picture shows.
  picture.prepend(h("img", {
    alt: "", decoding: "async", onerror: fail, src: `/image/${key}/rgb/${t}.jpg`,
  }));
}
