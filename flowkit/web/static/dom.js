// Build elements. Texts are always text, never HTML.

import {makeAddress} from "./place.js";

const SVG = "http://www.w3.org/2000/svg";

/** Make an HTML element: h("a", {href: "/", onclick: f}, "text", child, …). */
export function h(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** Make an SVG element. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

/** Split a text into texts and code elements, which it marks by backticks. */
export function markCode(text) {
  return text.split("`").map((part, k) => (k % 2 ? h("code", {}, part) : part));
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "href" || name === "src") element.setAttribute(name, makeAddress(value));
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}
