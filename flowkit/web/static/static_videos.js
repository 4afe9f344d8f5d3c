// Select videos in a folder without a server, as flowkit/web/browse.py does on one.
//
// A table is {classes, subsets, videos}: all names that exist, and what the grid shows of each
// video, in the order of ids. An unknown number is null: it meets no condition, and comes last.

const TOKEN = /\s*(?:(<=|>=|==|!=|=|<|>)|('[^']*'|"[^"]*")|([^\s<>=!'"]+))/y;
const NUMBER = /^[+-]?(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:e[+-]?\d+(?:_\d+)*)?$/i;
const NUMBERS = ["frames", "fps", "duration", "width", "height", "motion", "p95", "warnings"];
const TEXTS = ["id", "class", "subset"];
const STATUSES = ["stored", "failed", "missing"];
const SORTS = ["id", "motion", "frames", "fps", "duration"];
const COMPARE = {
  "<": (a, b) => a < b, "<=": (a, b) => a <= b, ">": (a, b) => a > b, ">=": (a, b) => a >= b,
  "=": (a, b) => a === b, "!=": (a, b) => a !== b,
};

/**
 * Answer `/api/videos`.
 * @param {{bound: number, stored: number, version: string}} store
 * @param {URLSearchParams} query
 * @param {{classes: string[], subsets: string[], videos: object[]}} table
 */
export function listVideos(store, query, table) {
  const get = (name, missing = "") => query.get(name) ?? missing;
  const conditions = get("where").trim() ? parseConditions(get("where")) : [];
  for (const column of ["class", "subset"]) {
    if (get(column)) conditions.push({column, operator: "=", value: get(column)});
  }
  const status = get("status") || "stored", sort = get("sort") || "id";
  if (!STATUSES.includes(status)) throw new Error(`status is one of ${STATUSES.join(", ")}, got ${status}`);
  if (!SORTS.includes(sort)) throw new Error(`sort is one of ${SORTS.join(", ")}, got ${sort}`);
  let videos = table.videos;
  if (status !== "stored") videos = videos.filter((video) => (status === "failed" ? video.failure : video.missing));
  for (const condition of conditions) {
    const meets = makeTest(condition, table, status);
    videos = videos.filter(meets);
  }
  const text = get("text").toLowerCase();
  if (text) videos = videos.filter(({id}) => id.toLowerCase().includes(text));
  videos = sortVideos(videos, sort, ["1", "true"].includes(get("descending")), status === "stored");
  const offset = Number(get("offset", 0)), limit = Number(get("limit", 60));
  return {version: store.version, bound: store.bound, stored: store.stored, total: videos.length, offset,
    videos: videos.slice(offset, offset + limit)};
}

/** Sort videos; those with the same number stay in the order of ids. */
function sortVideos(videos, sort, isDescending, hasNumbers) {
  if (sort === "id") return isDescending ? videos.toReversed() : videos;
  if (!hasNumbers) return videos;
  const sign = isDescending ? -1 : 1;
  return videos.toSorted(({[sort]: a}, {[sort]: b}) =>
    (a === null || b === null ? (a === null) - (b === null) : sign * (a - b)));
}

function makeTest({column, operator, value}, table, status) {
  const compare = COMPARE[operator];
  if (column === "class" || column === "subset") {
    const [known, name] = column === "class" ? [table.classes, "classes"] : [table.subsets, "subsets"];
    if (!known.includes(value)) {
      const more = known.length > 10 ? ` and ${known.length - 10} more` : "";
      throw new Error(`no ${column} ${value} in the store; there are ${known.slice(0, 10).join(", ") || "none"}${more}`);
    }
    return (video) => video[name].includes(value) === (operator === "=");
  }
  if (column === "id") {
    if (status !== "stored") throw new Error(`with status=${status}, filter ids by their text`);
    return (video) => compare(compareTexts(video.id, value), 0);
  }
  if (status !== "stored") return () => false;
  return (video) => video[column] !== null && compare(video[column], value);
}

/** Compare two texts by their code points, which is the order of ids. */
function compareTexts(a, b) {
  const [left, right] = [[...a], [...b]];
  const at = left.findIndex((letter, k) => letter !== right[k]);
  if (at < 0) return Math.sign(left.length - right.length);
  return right.length <= at ? 1 : Math.sign(left[at].codePointAt(0) - right[at].codePointAt(0));
}

/** Parse conditions as `flowkit list --where` has them; see flowkit/store/conditions.py. */
export function parseConditions(text) {
  const tokens = splitTokens(text), conditions = [];
  for (let at = 0; ; at += 4) {
    const [column, operator, value, joint] = tokens.slice(at, at + 4);
    if (column?.kind !== "word" || operator?.kind !== "operator" || !value) {
      throw new Error(`expected a column, a comparison and a value, such as motion<0.1, in ${text}`);
    }
    conditions.push(makeCondition(column.text, operator.text, value));
    if (!joint) return conditions;
    if (joint.kind !== "word" || joint.text.toLowerCase() !== "and") {
      throw new Error(`expected 'and' between two conditions, got ${joint.text} in ${text}; put quotes around values with blanks`);
    }
  }
}

function splitTokens(text) {
  const tokens = [], whole = text.trimEnd();
  TOKEN.lastIndex = 0;
  while (TOKEN.lastIndex < whole.length) {
    const at = TOKEN.lastIndex, match = TOKEN.exec(whole);
    if (!match) throw new Error(`expected conditions such as motion<0.1, got ${whole.slice(at)}`);
    const kind = match[1] ? "operator" : match[2] ? "quoted" : "word";
    tokens.push({kind, text: match[1] ?? match[2] ?? match[3]});
  }
  return tokens;
}

function makeCondition(column, operator, {kind, text}) {
  if (![...NUMBERS, ...TEXTS].includes(column)) {
    throw new Error(`no column ${column}; there are ${[...TEXTS, ...NUMBERS].join(", ")}`);
  }
  if (kind === "operator") throw new Error(`expected a value after ${column}${operator}, got ${text}`);
  const checked = operator === "==" ? "=" : operator;
  if (TEXTS.includes(column)) {
    if (column !== "id" && !["=", "!="].includes(checked)) {
      throw new Error(`${column} can be compared by = and != only, got ${column}${operator}`);
    }
    return {column, operator: checked, value: kind === "quoted" ? text.slice(1, -1) : text};
  }
  const value = kind === "word" && NUMBER.test(text) ? Number(text.replaceAll("_", "")) : NaN;
  if (!Number.isFinite(value)) throw new Error(`${column} is a number: expected ${column}${operator}NUMBER, got ${text}`);
  return {column, operator: checked, value};
}
