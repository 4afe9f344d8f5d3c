// The filters of the grid: their form, and what they mean as a query of `/api/videos`.

import {h} from "./dom.js";

const RANGES = [["length", "duration"], ["motion", "motion"]];
const SORTS = [
  ["id", "Id"], ["duration", "Length"], ["motion", "Motion"], ["frames", "Frames"],
  ["fps", "Frame rate"],
];
const STATUSES = [["", "In the store"], ["failed", "Failed"], ["missing", "Missing"]];
/** Names of the filters in the URL. */
export const FILTERS = [
  "text", "class", "subset", "status", "min_length", "max_length", "min_motion", "max_motion",
  "where",
];
/** Names of all values of the form in the URL. */
export const VALUES = [...FILTERS, "sort", "descending"];

/**
 * Make the query of `/api/videos` for the values of the form.
 * @param {Record<string, string>} values
 */
export function makeQuery(values) {
  const conditions = values.where ? [values.where] : [];
  for (const [name, column] of RANGES) {
    if (values[`min_${name}`]) conditions.push(`${column}>=${values[`min_${name}`]}`);
    if (values[`max_${name}`]) conditions.push(`${column}<=${values[`max_${name}`]}`);
  }
  const {text = "", subset = "", status = "", sort = "", descending = ""} = values;
  return {text, class: values.class ?? "", subset, status, sort, descending,
    where: conditions.join(" and ")};
}

/** The form. `onchange` is called with its values. */
export class FilterForm {
  /**
   * @param {Record<string, string>} values Values at the start, from the URL.
   * @param {function(Record<string, string>): void} onchange
   */
  constructor(values, onchange) {
    const isWide = matchMedia("(min-width: 700px)").matches;
    this.fields = new Map();
    this.onchange = onchange;
    const field = (name, element) => {
      element.setAttribute("name", name);
      this.fields.set(name, element);
      return element;
    };
    const number = (name, label) => field(name, h("input", {
      type: "number", min: 0, step: "any", "aria-label": label, inputmode: "decimal",
    }));
    const range = (name, title, unit) => h("fieldset", {}, h("legend", {}, `${title} (${unit})`),
      number(`min_${name}`, `${title} at least`), " – ", number(`max_${name}`, `${title} at most`));
    const choice = (name, title, options) => h("label", {}, h("span", {}, title),
      field(name, h("select", {}, options.map(([value, text]) => h("option", {value}, text)))));
    this.text = field("text", h("input", {
      type: "search", placeholder: isWide ? "Text in the id  (press /)" : "Text in the id",
      "aria-label": "Text in the id",
    }));
    this.order = field("descending", h("button", {type: "button", value: "", onclick: () => {
      this.#set("descending", this.order.value ? "" : "1");
      this.#change();
    }}));
    const rest = h("details", {class: "more"}, h("summary", {}, "Filters"), h("div", {},
      choice("class", "Class", [["", "All classes"]]),
      choice("subset", "Subset", [["", "All subsets"]]),
      choice("status", "Status", STATUSES),
      range("length", "Length", "s"), range("motion", "Motion", "px"),
      h("label", {class: "conditions"}, h("span", {}, "Conditions"),
        field("where", h("input", {type: "text",
          placeholder: "fps<25 and warnings>0", title: "As in flowkit list --where"})))));
    rest.open = isWide;
    this.element = h("form", {class: "filters", role: "search", "aria-label": "Filters",
      onsubmit: (event) => event.preventDefault(),
      oninput: ({target}) => this.#wait(target),
      onchange: () => this.#change(),
    }, h("div", {class: "first"}, this.text, choice("sort", "Sort by", SORTS), this.order), rest);
    this.setValues(values);
  }

  /** Offer the classes and subsets of the store, and further orders of its videos. */
  setChoices(classes, subsets, orders = []) {
    const sort = this.fields.get("sort"), chosen = sort.value;
    const titles = [...SORTS, ...orders.map((name) => [name, name])];
    sort.replaceChildren(...titles.map(([value, text]) => h("option", {value}, text)));
    this.#set("sort", chosen);
    for (const [name, names] of [["class", classes], ["subset", subsets]]) {
      const select = this.fields.get(name), {value} = select;
      select.replaceChildren(select.options[0],
        ...names.map((text) => h("option", {value: text}, text)));
      this.#set(name, value);
    }
  }

  /** Return the values of the form; empty texts for what is not filtered. */
  getValues() {
    return Object.fromEntries(VALUES.map((name) => {
      const {value} = this.fields.get(name);
      return [name, name === "sort" && value === "id" ? "" : value.trim()];
    }));
  }

  /** Set the values of the form; those that are left out become empty. */
  setValues(values) {
    for (const name of VALUES) this.#set(name, values[name] ?? "");
    this.last = JSON.stringify(this.getValues());
  }

  #set(name, value) {
    const field = this.fields.get(name);
    if (name === "sort") value ||= "id";
    if (name === "descending") {
      const isDown = value === "1" || value === "true";
      field.value = isDown ? "1" : "";
      field.textContent = isDown ? "↓" : "↑";
      const label = isDown ? "Largest first" : "Smallest first";
      field.setAttribute("aria-label", label);
      field.title = label;
      return;
    }
    // A value of the URL that is not offered (yet) is kept, so that the server can say what is wrong.
    if (field.options && ![...field.options].some((option) => option.value === value)) {
      field.append(h("option", {value}, value));
    }
    field.value = value;
  }

  #wait(target) {
    clearTimeout(this.timer);
    if (target.matches("input")) this.timer = setTimeout(() => this.#change(), 200);
  }

  #change() {
    clearTimeout(this.timer);
    const values = this.getValues(), state = JSON.stringify(values);
    if (state === this.last) return;
    this.last = state;
    this.onchange(values);
  }
}
