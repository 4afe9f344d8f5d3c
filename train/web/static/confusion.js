// Draw a confusion matrix as a table of buttons: a row for each true class, a column for each
// predicted one. A cell opens the videos behind it. Arrow keys move between cells.

import {h} from "/static/dom.js";
import {formatPercent} from "./parts.js";

const LISTED = 12;

/**
 * Make the matrix of /api/runs/RUN/confusion, and the list of the most frequent confusions.
 * @param {object} facts
 * @param {{true: string, predicted: string}} chosen The cell that is open.
 * @param {(cell: {true: string, predicted: string}) => void} open Called with the cell to open.
 */
export function makeConfusion(facts, chosen, open) {
  const pairs = makePairs(facts, open);
  if (!facts.matrix) {
    return [h("p", {class: "quiet"}, `${facts.classes.length} classes: too many for a matrix.`), pairs];
  }
  return h("div", {class: "confusion-box"}, makeMatrix(facts, chosen, open), pairs);
}

function makeMatrix({classes, matrix, others, untested}, chosen, open) {
  const hasOthers = others.some((count) => count);
  const columns = [...classes.map((item) => [item.name, String(item.class)]), ...(hasOthers ? [["other classes", "other"]] : [])];
  const cells = [];
  const select = (button, cell) => {
    for (const other of cells) other.toggleAttribute("aria-current", other === button);
    open(cell);
  };
  const rows = classes.map((item, i) => {
    const counts = [...matrix[i], ...(hasOthers ? [others[i]] : [])];
    return h("tr", {},
      h("th", {scope: "row"}, h("span", {}, item.name), h("span", {class: "quiet"}, formatPercent(item.accuracy))),
      counts.map((count, j) => {
        if (!count) return h("td", {class: i === j ? "diagonal" : null}, "");
        const cell = {true: String(item.class), predicted: columns[j][1]};
        const button = h("button", {
          type: "button", "data-true": cell.true, "data-predicted": cell.predicted,
          "aria-current": cell.true === chosen.true && cell.predicted === chosen.predicted,
          "aria-label": `${item.name} as ${columns[j][0]}: ${count} of ${item.videos} videos`,
          title: `${item.name} as ${columns[j][0]}: ${count} of ${item.videos}`,
        }, String(count));
        const share = count / item.videos;
        button.style.setProperty("--share", `${Math.round(15 + 75 * share)}%`);
        button.classList.toggle("strong", share > 0.5);
        button.addEventListener("click", () => select(button, cell));
        cells.push(button);
        return h("td", {class: i === j ? "diagonal" : null}, button);
      }));
  });
  const caption = "Rows: true class and its accuracy. Columns: predicted class."
    + (untested ? ` ${untested} classes have no tested video.` : "");
  const table = h("table", {class: "confusion", "aria-label": caption},
    h("thead", {}, h("tr", {}, h("td"), columns.map(([name]) => h("th", {scope: "col"}, h("span", {title: name}, name))))),
    h("tbody", {}, rows));
  table.addEventListener("keydown", moveFocus);
  return h("div", {}, h("p", {class: "quiet caption"}, caption), h("div", {class: "run-scroll"}, table));
}

/** Move the focus to the next cell with videos, in the direction of an arrow key. */
function moveFocus(event) {
  const steps = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
  const cell = event.target.closest("td");
  if (!steps || !cell) return;
  event.preventDefault();
  const rows = [...cell.closest("tbody").rows];
  let [row, column] = [rows.indexOf(cell.parentElement), cell.cellIndex];
  for (;;) {
    row += steps[0];
    column += steps[1];
    const next = rows[row]?.cells[column];
    if (!next) return;
    const button = next.querySelector("button");
    if (button) {
      button.focus();
      return;
    }
  }
}

function makePairs({pairs}, open) {
  if (!pairs.length) return h("p", {class: "quiet"}, "No video was confused.");
  const item = ({videos, true_name: name, predicted_name: predicted, ...pair}) => h("li", {}, h("button", {
    type: "button", class: "link",
    onclick: () => open({true: String(pair.true), predicted: String(pair.predicted)}),
  }, `${name} as ${predicted}`), h("span", {class: "quiet"}, ` ${videos}`));
  const rest = pairs.slice(LISTED);
  return h("div", {class: "pairs"}, h("h3", {}, "Most frequent confusions"),
    h("ol", {}, pairs.slice(0, LISTED).map(item)),
    rest.length ? h("details", {}, h("summary", {}, `${rest.length} more`), h("ol", {start: LISTED + 1}, rest.map(item))) : null);
}
