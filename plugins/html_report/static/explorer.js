// All episodes of the page, and what filters them.

import { button, el } from "report/dom";
import { index, outcome } from "report/index";
import { packed } from "report/packed";
import { showEpisode, startEpisodes } from "report/episode";

const PAGE = 50;
const FILTERS = {
  environment: "Environment",
  stage: "Stage",
  kind: "Kind",
  outcome: "Outcome",
  difficulty: "Difficulty",
  failure: "Failure mode",
};

let texts = null;

/** The section with the episodes. */
export function openExplorer(data) {
  startEpisodes(data.rows);
  const form = el("form", { class: "filters", role: "search", "aria-label": "Filter episodes", onsubmit: (e) => e.preventDefault() });
  const count = el("p", { id: "count", role: "status" });
  const list = el("div", { class: "scroll tall", tabindex: 0, role: "region", "aria-label": "Episodes that pass the filter" });
  const state = {};
  let shown = PAGE;
  let turn = 0;

  const apply = async () => {
    const began = performance.now();
    const mine = ++turn;
    const found = await matching(state, data);
    if (mine !== turn) return; // the filter has changed meanwhile
    count.textContent = `${found.length.toLocaleString("en")} episodes`;
    const { columns } = await index();
    list.replaceChildren(columns.where ? rows(columns, found.slice(0, shown), data) : "");
    more.hidden = found.length <= shown;
    performance.measure("filter", { start: began });
  };
  const more = button("Show more", () => { shown += 4 * PAGE; apply(); }, { hidden: true });

  const section = el(
    "section",
    { id: "episodes", "aria-labelledby": "title-episodes" },
    el("h2", { id: "title-episodes" }, "Episodes"),
    el("p", { class: "note" }, included(data.episodes.counts)),
    form, count, list, more,
  );
  index().then(({ columns }) => {
    const change = (name, value) => { state[name] = value; shown = PAGE; apply(); };
    for (const [name, label] of Object.entries(columns.where ? FILTERS : {})) {
      const options = choices(name, columns, data);
      if (options.length < 2) continue;
      form.append(el("label", {}, label, el("select", { name, onchange: (e) => change(name, e.target.value) },
        el("option", { value: "" }, "all"),
        options.map(([value, text]) => el("option", { value }, text)))));
    }
    form.append(el("label", {}, "Text", el("input", {
      type: "search", name: "text", oninput: (e) => change("text", e.target.value.toLowerCase()),
    })));
    return apply();
  }).then(() => performance.mark("episodes")).then(() => requestIdleCallback?.(() => allTexts(data)) ?? null);
  return section;
}

function included(counts) {
  const line = (kind, name) => {
    const [here, all] = counts[kind];
    const which = here === all ? "all" : `${here.toLocaleString("en")} of`;
    return `${which} ${all.toLocaleString("en")} ${name}`;
  };
  const text = `${line("evaluate", "of evaluations")}, ${line("train", "of training")}`;
  return `In this page: ${text}. The others are in the run's folder episodes/.`
    .replace(/ The others.*/, (rest) =>
      (counts.evaluate[0] === counts.evaluate[1] && counts.train[0] === counts.train[1] ? "" : rest));
}

function choices(name, columns, data) {
  const distinct = (values) => [...new Set(values)].filter((value) => value !== null);
  if (name === "stage") {
    return distinct(columns.stage).sort((a, b) => a - b).map((row) => [String(row), data.rows[row]]);
  }
  if (name === "outcome") return ["solved", "not solved", "fault"].map((value) => [value, value]);
  if (name === "kind") {
    return distinct(columns.kind).map((value) => [value, value === "train" ? "training" : "evaluation"]);
  }
  const values = name === "failure" ? columns.failures.flat() : columns[name];
  return distinct(values).sort().map((value) => [value, value.replaceAll("_", " ")]);
}

async function matching(state, data) {
  const { columns, count } = await index();
  const wanted = state.text ? await allTexts(data) : null;
  const stage = state.stage ? Number(state.stage) : null;
  const found = [];
  for (let i = 0; i < count; i++) {
    if (state.environment && columns.environment[i] !== state.environment) continue;
    if (stage !== null && columns.stage[i] !== stage) continue;
    if (state.kind && columns.kind[i] !== state.kind) continue;
    if (state.difficulty && columns.difficulty[i] !== state.difficulty) continue;
    if (state.failure && !columns.failures[i].includes(state.failure)) continue;
    if (state.outcome && outcome(columns, i) !== state.outcome) continue;
    if (wanted && !wanted[i].includes(state.text)) continue;
    found.push(i);
  }
  return found;
}

/** What the filter of texts looks through: of each episode its task, and all that was said. */
function allTexts(data) {
  texts ??= (async () => {
    const { columns, count } = await index();
    const said = new Array(count);
    const chunks = new Map();
    for (let number = 2; number <= data.episodes.packed; number++) {
      const chunk = await packed(number);
      chunks.set(number, chunk.map(({ turns }) =>
        turns.map(({ observation, text }) => `${observation}\n${text}`).join("\n").toLowerCase()));
    }
    for (let i = 0; i < count; i++) {
      said[i] = `${columns.task[i].toLowerCase()}\n${chunks.get(columns.chunk[i])[columns.place[i]]}`;
    }
    return said;
  })();
  return texts;
}

function rows(columns, found, data) {
  const head = ["task", "environment", "stage", "outcome", "reward", "turns", "failure modes", ""];
  return el(
    "table",
    { class: "episodes", "aria-label": "Episodes" },
    el("thead", {}, el("tr", {}, head.map((name) =>
      name ? el("th", { scope: "col" }, name) : el("td", {})))),
    el("tbody", {}, found.map((i) => el("tr", {},
      el("th", { scope: "row", dir: "auto" }, columns.task[i]),
      el("td", {}, columns.environment[i]),
      el("td", {}, columns.kind[i] === "train"
        ? `stage ${columns.stage[i]}, update ${columns.update[i] + 1}` : data.rows[columns.stage[i]]),
      el("td", { class: `outcome ${outcome(columns, i).replace(" ", "-")}` }, outcome(columns, i)),
      el("td", { class: "number" }, String(columns.reward[i])),
      el("td", { class: "number" }, String(columns.turns[i])),
      el("td", {}, columns.failures[i].map((mode) => mode.replaceAll("_", " ")).join(", ")),
      el("td", {}, button("Show", () => showEpisode(columns.where[i], null), {
        "aria-label": `Show ${columns.task[i]}`,
      }))))),
  );
}
