// Where the page is: a path and a query. A server gives each path its own address. In a folder
// without a server (see static_answers.js), there is one document, and the hash holds both.

/** What the folder says about itself; undefined on a page of a server. */
export const folder = window.flowkitStatic;

/** Return the words of the path that is shown, and its query. */
export function readPlace() {
  const {pathname, search} = folder ? new URL(`http://page${readHash()}`) : location;
  return {pathname, words: pathname.split("/").slice(1), query: new URLSearchParams(search)};
}

/** Convert a path of the page, of a style or of a picture to what a link or a picture needs. */
export function makeAddress(path) {
  if (!folder || !path.startsWith("/")) return path;
  if (path.startsWith("/static/")) return path.slice(1);
  if (!path.startsWith("/image/")) return `#${path}`;
  const [key, part] = path.split("/").slice(2);
  const video = Object.hasOwn(folder.videos, key) ? folder.videos[key] : null;
  const picture = part === "audio.png" ? video?.sound : video?.picture;
  return picture ?? "data:,";  // which is no picture, so that its element says so
}

/** Return the path and query that a link leads to, or null if it leads out of the page. */
export function readLink(link) {
  if (!folder) return link.origin === location.origin ? link.pathname + link.search + link.hash : null;
  const address = link.getAttribute("href");
  return address.startsWith("#/") ? address.slice(1) : null;
}

function readHash() {
  return location.hash.startsWith("#/") ? location.hash.slice(1) : "/";
}
