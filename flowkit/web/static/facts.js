// What a store knows about a video, as panels of terms and values.

import {formatTime} from "./timeline.js";
import {h} from "./dom.js";
import {query} from "./api.js";

const HANDLED = ["backend", "flowkit", "host"];

/** Make the panels of a video's facts, for /api/video/KEY. */
export function makeFacts(video) {
  return [describeLabels(video), describeVideo(video), describeOrigin(video), describeNotes(video)];
}

/** Make a panel with a heading. */
export function makePanel(title, ...content) {
  return h("section", {class: "panel", "aria-label": title}, h("h2", {}, title), ...content);
}

function makeTerms(pairs) {
  return h("dl", {}, pairs.filter(([, value]) => value !== null && value !== "")
    .map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]));
}

function describeLabels({labels, subsets}) {
  const items = labels.map(({name, start, end}) => h("li", {},
    h("a", {href: `/browse${query({class: name})}`}, name),
    start === null && end === null ? null
      : h("span", {class: "quiet"}, ` ${writeTime(start, "start")} to ${writeTime(end, "end")}`)));
  const links = subsets.flatMap((name) => [", ", h("a", {href: `/browse${query({subset: name})}`}, name)]);
  return makePanel("Labels",
    items.length ? h("ul", {}, items) : h("p", {class: "quiet"}, "No label."),
    h("p", {}, links.length ? ["Subset: ", ...links.slice(1)] : "In no subset."));
}

function writeTime(seconds, missing) {
  return seconds === null ? missing : formatTime(seconds);
}

function describeVideo(video) {
  const {frames, fps, motion, flow} = video;
  const rate = video.times_error ? h("span", {class: "error"}, `its times cannot be read: ${video.times_error}; shown at 25 frames/s`)
    : video.hasNoRate ? "unknown; shown at 25 frames/s" : video.interval === null && frames > 1 ? `${round(fps)} frames/s on average; it varies`
    : `${round(fps)} frames/s`;
  return makePanel("Video", makeTerms([
    ["Id", h("span", {class: "code"}, video.id)],
    ["Streams", video.streams.join(", ")],
    ["Frames", frames ? `${frames.toLocaleString("en")} of ${video.width} × ${video.height}` : null],
    ["Rate", frames ? rate : null],
    ["Length", frames ? `${formatTime(video.duration)} (${round(video.duration)} s)` : null],
    ["Sound", video.patches ? `${video.patches} patches, ${round(video.sound_seconds)} s` : null],
    ["Motion", motion ? `${round(motion.mean)} px on average; 95 % below ${round(motion.p95)} px` : null],
    ["Flow", flow ? `${flow.count.toLocaleString("en")} fields, frame t to ${writeTarget(flow.step)}, up to ±${round(flow.bound)} px` : null],
  ]));
}

function writeTarget(step) {
  return step < 0 ? `t − ${-step}` : `t + ${step}`;
}

function describeOrigin({source, fingerprint, committed}) {
  const changed = fingerprint.mtime_ns ? new Date(fingerprint.mtime_ns / 1e6) : null;
  const panel = makePanel("Where it is from", makeTerms([
    ["Source", h("span", {class: "code"}, source)],
    ["Fingerprint", `${fingerprint.size.toLocaleString("en")} bytes${changed ? `, changed ${changed.toISOString().slice(0, 19).replace("T", " ")} UTC` : ""}`],
    ["Digest", h("span", {class: "code"}, fingerprint.digest)],
  ]));
  for (const {shard, streams, provenance = {}, error} of committed) {
    const others = Object.entries(provenance).filter(([name]) => !HANDLED.includes(name));
    panel.append(h("h3", {}, streams.join(" and ") || shard), makeTerms([
      ["Backend", provenance.backend ?? null],
      ["Version", provenance.flowkit ? `flowkit ${provenance.flowkit}` : null],
      ["Host", provenance.host ?? null],
      ...others.map(([name, value]) => [name.replaceAll("_", " "), writeValue(value)]),
      ["Shard", h("span", {class: "code"}, shard)],
      ["Record", error ? h("span", {class: "error"}, error) : null],
    ]));
  }
  return panel;
}

function writeValue(value) {
  return typeof value === "object" && value !== null ? JSON.stringify(value) : String(value);
}

function describeNotes({committed}) {
  const notes = committed.flatMap(({streams, warnings = []}) =>
    warnings.map((warning) => h("li", {}, h("span", {class: "quiet"}, `${streams.join(", ")}: `), warning)));
  return makePanel("What decoding noticed",
    notes.length ? h("ul", {class: "notes"}, notes) : h("p", {class: "quiet"}, "Nothing."));
}

function round(number) {
  return String(Number(number.toPrecision(4)));
}
