// Write numbers for people: counts, bytes and lengths of time, the same on every machine.

const COUNT = new Intl.NumberFormat("en");
const FINE = new Intl.NumberFormat("en", {maximumSignificantDigits: 4});
const SHORT = new Intl.NumberFormat("en", {maximumSignificantDigits: 3});

/** Write a whole number: 250,000. */
export function formatCount(number) {
  return COUNT.format(number);
}

/** Write a number with at most four digits, or all of its whole ones: 0.676, 29.97, 1,200. */
export function formatNumber(number) {
  return Math.abs(number) < 1000 ? FINE.format(number) : COUNT.format(Math.round(number));
}

/** Write a count and its noun: "1 video", "2 videos". */
export function formatNoun(number, noun, plural = `${noun}s`) {
  return `${formatCount(number)} ${number === 1 ? noun : plural}`;
}

/** Write a number of bytes: 61.6 MB. */
export function formatBytes(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) [bytes, unit] = [bytes / 1000, unit + 1];
  return `${unit ? SHORT.format(bytes) : COUNT.format(bytes)} ${units[unit]}`;
}

/** Write a length of time: 1.28 s, 2 min 5 s, 694 h 26 min. */
export function formatSeconds(seconds) {
  if (seconds < 60) return `${formatNumber(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${formatCount(Math.floor(minutes / 60))} h ${minutes % 60} min`;
}

/** Write a moment: 14:03:11 of today, or with its date. */
export function formatMoment(seconds) {
  const moment = new Date(seconds * 1000);
  const time = moment.toLocaleTimeString("en-GB");
  const day = moment.toLocaleDateString("sv");
  return day === new Date().toLocaleDateString("sv") ? time : `${day} ${time}`;
}
