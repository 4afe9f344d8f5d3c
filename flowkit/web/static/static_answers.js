// Answer in place of a server, from the scripts of a folder that `flowkit view --static` wrote.
//
// Pages of file:// may not read files, but they may run scripts. Each script in data/ calls
// `flowkitStatic.receive(name, text)`; the text is JSON, or the base64 of a bundle of frames:
//
//     data/videos.js, data/absent.js   the tables that static_videos.js selects from
//     data/answers-N.js                answers of the server by their address
//     data/video-N.js                  the answers about one video
//     data/frames-N-K.js               frames K·chunk to (K + 1)·chunk of it, as flowkit/web/images.py
//                                      bundles them

import {splitBundle} from "./frames.js";
import {folder} from "./place.js";
import {listVideos} from "./static_videos.js";

const KEPT_BYTES = 64e6;
const received = new Map();
const texts = new Map();  // name: promise of the text of a script
const chunks = new Map();  // name: promise of frames, least recently used first
const makers = [];

folder.receive = (name, text) => received.set(name, text);

/**
 * Add a way to make answers.
 * @param {RegExp} pattern Of the path.
 * @param {(match: string[], query: URLSearchParams, load: typeof findJSON) => Promise<object>} make
 */
export function addAnswers(pattern, make) {
  makers.push([pattern, make]);
}

/** Return the answer to an address below /api/. */
export async function findJSON(address, signal) {
  const {pathname, searchParams: query} = new URL(address, "http://page");
  let answer;
  if (pathname === "/api/videos") {
    answer = {value: listVideos(folder, query, await loadJSON(isStored(query) ? "videos" : "absent"))};
  } else {
    answer = await findAnswer(pathname, query);
  }
  stopIfAborted(signal);
  if (answer.error !== undefined) throw new Error(answer.error);
  return answer.value;
}

async function findAnswer(pathname, query) {
  for (const [pattern, make] of makers) {
    const match = pathname.match(pattern);
    if (match) return {value: await make(match, query, findJSON)};
  }
  const key = pathname.match(/^\/api\/video\/([^/]+)/)?.[1];
  const script = key ? `video-${findVideo(key).number}` : own(folder.answers, nameAnswer(pathname, query));
  const answers = script ? await loadJSON(script) : {};
  const answer = own(answers, nameAnswer(pathname, query));
  if (answer) return answer;
  throw new Error("This is computed when it is asked for, which this folder cannot do. "
    + "`flowkit view` with the store shows it.");
}

/** Return the bytes of `/api/video/KEY/frames?…`. */
export async function findBytes(address, signal) {
  const {pathname, searchParams: query} = new URL(address, "http://page");
  const key = pathname.match(/^\/api\/video\/([^/]+)\/frames$/)?.[1];
  if (!key) throw new Error("This folder does not have it.");
  const {number, frames: count, chunk, parts} = findVideo(key);
  const start = Number(query.get("start")), end = Math.min(start + Number(query.get("count")), count);
  const columns = query.get("parts").split(",").map((part) => parts.indexOf(part));
  const frames = [];
  for (let t = start; t < end; t++) {
    const loaded = await loadChunk(`frames-${number}-${Math.floor(t / chunk)}`, parts.length);
    stopIfAborted(signal);
    frames.push(columns.map((k) => loaded[t % chunk]?.[k] ?? new Uint8Array()));
  }
  return joinBundle(frames);
}

/** Write frames as flowkit/web/images.py does. @param {Uint8Array[][]} frames */
export function joinBundle(frames) {
  const length = frames.flat().reduce((total, jpeg) => total + 4 + jpeg.length, 4);
  const bytes = new Uint8Array(length), view = new DataView(bytes.buffer);
  view.setUint32(0, frames.length, true);
  let at = 4;
  for (const jpeg of frames.flat()) {
    view.setUint32(at, jpeg.length, true);
    bytes.set(jpeg, at + 4);
    at += 4 + jpeg.length;
  }
  return bytes.buffer;
}

/** Name an answer as flowkit/web/static_data.py does: the path, and a line for each parameter. */
export function nameAnswer(pathname, query) {
  const lines = [...query].filter(([, value]) => value).map(([name, value]) => `${name}=${value}`);
  return [pathname, ...lines.sort()].join("\n");
}

function isStored(query) {
  return (query.get("status") || "stored") === "stored";
}

function findVideo(key) {
  const video = own(folder.videos, key);
  if (video) return video;
  throw new Error(`This folder has ${Object.keys(folder.videos).length} of the ${folder.stored} `
    + "videos of the store, and not this one.");
}

function own(values, name) {
  return Object.hasOwn(values, name) ? values[name] : null;
}

function stopIfAborted(signal) {
  if (signal?.aborted) throw new DOMException("the page was left", "AbortError");
}

async function loadJSON(name) {
  if (!texts.has(name)) texts.set(name, loadScript(name).then(JSON.parse));
  try {
    return await texts.get(name);
  } catch (error) {
    texts.delete(name);
    throw error;
  }
}

/** Load some frames; those used last are kept. */
async function loadChunk(name, parts) {
  const known = chunks.get(name) ?? {bytes: 0, frames: loadScript(name)
    .then((text) => splitBundle(decodeBase64(text, known), parts))};
  chunks.delete(name);
  chunks.set(name, known);
  known.frames.catch(() => chunks.delete(name));
  let total = 0;
  for (const {bytes} of chunks.values()) total += bytes;
  for (const [other, {bytes}] of chunks) {
    if (total <= KEPT_BYTES || other === name) break;
    total -= bytes;
    chunks.delete(other);
  }
  return known.frames;
}

function decodeBase64(text, known) {
  const binary = atob(text), bytes = new Uint8Array(binary.length);
  for (let k = 0; k < binary.length; k++) bytes[k] = binary.charCodeAt(k);
  known.bytes = bytes.length;
  return bytes.buffer;
}

/** Run a script of data/, and return the text that it hands over. */
function loadScript(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    const end = () => {
      script.remove();
      const text = received.get(name);
      received.delete(name);
      if (text === undefined) reject(new Error(`data/${name}.js cannot be read. Was the whole folder copied?`));
      else resolve(text);
    };
    script.onload = script.onerror = end;
    script.src = `data/${name}.js`;
    document.head.append(script);
  });
}
