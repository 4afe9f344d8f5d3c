// Ask the server. Errors have its words, for people to read. In a folder without a server,
// static_answers.js has the answers.

import {folder} from "./place.js";

/** Return the JSON values of an address below /api/. */
export async function getJSON(path, signal) {
  if (folder) return (await import("./static_answers.js")).findJSON(path, signal);
  return (await get(path, signal)).json();
}

/** Return the bytes of an address. */
export async function getBytes(path, signal) {
  if (folder) return (await import("./static_answers.js")).findBytes(path, signal);
  return (await get(path, signal)).arrayBuffer();
}

async function get(path, signal) {
  let response;
  try {
    response = await fetch(path, {signal, headers: {accept: "application/json"}});
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `flowkit view` still running?");
  }
  if (response.ok) return response;
  let reason = response.statusText;
  try {
    reason = (await response.json()).error;
  } catch { /* an answer without JSON has no better reason */ }
  throw new Error(reason);
}

/** Write a query: query({class: "a b", sort: ""}) is "?class=a+b". */
export function query(values) {
  const kept = Object.entries(values).filter(([, value]) => value !== "" && value !== null);
  const text = new URLSearchParams(kept).toString();
  return text ? `?${text}` : "";
}
