// In a folder without a server: list the videos of a run by how it scored them, as
// train/web/predictions.py does on one, from the answer of /api/runs/RUN/scored.

import {addAnswers} from "/static/static_answers.js";
import {query as makeQuery} from "/static/api.js";

/** Answer /api/runs/RUN/videos. */
export function addRunAnswers() {
  addAnswers(/^(\/api\/runs\/[^/]+)\/videos$/, async ([, path], query, load) => {
    const scored = await load(`${path}/scored${makeQuery({score: query.get("score") ?? ""})}`);
    return listScoredVideos(scored, query);
  });
}

/**
 * List the videos of one page.
 * @param {{score: string, videos: object[], true: number[], predicted: number[],
 *   orders: Record<string, number[]>}} scored
 * @param {URLSearchParams} query sort, true, predicted, offset and limit.
 */
export function listScoredVideos(scored, query) {
  const get = (name, missing) => query.get(name) || missing;
  const own = get("true", null), predicted = get("predicted", null);
  const tested = new Set(scored.true);
  const places = (scored.orders[get("sort", "wrong")] ?? []).filter((k) =>
    (own === null || scored.true[k] === Number(own))
    && (predicted === null
      || (predicted === "other" ? !tested.has(scored.predicted[k]) : scored.predicted[k] === Number(predicted))));
  const offset = Number(get("offset", 0));
  return {
    score: scored.score, total: places.length, offset,
    wrong: places.filter((k) => !scored.videos[k].right).length,
    videos: places.slice(offset, offset + Number(get("limit", 48))).map((k) => scored.videos[k]),
  };
}
