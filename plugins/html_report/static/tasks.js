// A cell of R: the tasks that were lost and gained, and both episodes of one of them.

import { button, el, fill } from "report/dom";
import { index, testKey } from "report/index";
import { setLink } from "report/links";
import { showPair } from "report/episode";

let data;
let panel;

export function startTasks(found) {
  data = found;
  panel = el("div", { id: "tasks", class: "panel", hidden: true });
  document.getElementById("success").append(panel);
}

/** The row that a row is compared with: the best before it; the last one for the first. */
function rowBefore(row, scores) {
  if (row === 0) return data.rows.length - 1;
  if (data.restarts) return 0;
  const mean = (values) => {
    const known = values.filter((value) => value !== null);
    return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : -1;
  };
  let best = 0;
  for (let i = 1; i < row; i++) if (mean(scores[i]) >= mean(scores[best])) best = i;
  return best;
}

/** Show the tasks of a cell, compared with the row `before`. */
export async function openTasks(row, column, before) {
  const environment = data.environments[column];
  const tasks = data.tasks[environment];
  if (!tasks || !data.rows[row]) return;
  let other = Number.isInteger(before) && before !== row && data.rows[before]
    ? before : rowBefore(row, tasks.scores);
  if (data.rows.length < 2) return;
  // The earlier row is always the one on the left.
  let [first, second] = [other, row].sort((a, b) => a - b);
  setLink({ cell: [row, column, other].join(",") });
  for (const open of document.querySelectorAll('[aria-expanded="true"]')) {
    open.setAttribute("aria-expanded", "false");
  }
  document.getElementById(`cell-${row}-${column}`)?.setAttribute("aria-expanded", "true");
  const groups = { lost: [], gained: [], solved: [], unsolved: [], unknown: [] };
  tasks.ids.forEach((task, k) => {
    const [a, b] = [tasks.scores[first][k], tasks.scores[second][k]];
    const kind = a === null || b === null ? "unknown"
      : b < a ? "lost" : b > a ? "gained" : a > 0 ? "solved" : "unsolved";
    groups[kind].push({ task, a, b });
  });
  groups.lost.sort((x, y) => y.a - y.b - (x.a - x.b));
  groups.gained.sort((x, y) => y.b - y.a - (x.b - x.a));
  const choose = el(
    "select",
    { id: "compared", onchange: (event) => openTasks(row, column, Number(event.target.value)) },
    data.rows.map((name, i) =>
      i === row ? null : el("option", { value: i, selected: i === other }, name)),
  );
  const heading = el("h3", { tabindex: -1 }, `${environment}, ${data.rows[row]}`);
  const pick = (item, pressed) => openPair(environment, item, [first, second], pressed);
  fill(
    panel,
    heading,
    el("p", {}, el("label", { for: "compared" }, "Compared with "), choose),
    list("Lost", `solved less often ${data.rows[second]} than ${data.rows[first]}`, groups.lost, pick),
    list("Gained", `solved more often ${data.rows[second]} than ${data.rows[first]}`, groups.gained, pick),
    rest("Solved as often in both", groups.solved, pick),
    rest("Solved in neither", groups.unsolved, pick),
    rest("Without a score in one of them, for faults", groups.unknown, pick),
    el("p", { class: "hint" }, "Choose a task to see both episodes."),
  );
  panel.hidden = false;
  heading.focus({ preventScroll: true });
  heading.scrollIntoView({ block: "nearest" });
}

function list(title, meaning, items, pick) {
  return el(
    "div",
    { class: "group" },
    el("h4", {}, `${title}: ${items.length}`, el("small", {}, ` ${meaning}`)),
    buttons(items, pick),
  );
}

function rest(title, items, pick) {
  if (!items.length) return null;
  return el("details", {}, el("summary", {}, `${title}: ${items.length}`), buttons(items, pick));
}

function buttons(items, pick) {
  const shown = (value) => (value === null ? "–" : String(Math.round(value * 100) / 100));
  return el("ul", { class: "chips" }, items.map((item) => {
    const made = button(`${item.task} `, () => pick(item, made), { "aria-pressed": "false" });
    made.append(el("small", {}, `${shown(item.a)} → ${shown(item.b)}`));
    return el("li", {}, made);
  }));
}

async function openPair(environment, item, [first, second], pressed) {
  for (const other of panel.querySelectorAll("[aria-pressed]")) {
    other.setAttribute("aria-pressed", String(other === pressed));
  }
  const { columns, tests } = await index();
  const found = [first, second].map((row) => tests.get(testKey(row, environment, item.task)) ?? []);
  const [before, now] = found.map((places) =>
    new Map(places.map((place) => [columns.sample[place], place])));
  const samples = [...before.keys()].filter((sample) => now.has(sample));
  if (!samples.length) {
    document.getElementById("said").textContent =
      "These episodes did not fit into the page: they are in the run's folder episodes/.";
    return;
  }
  // Of several samples, one in which the difference shows.
  const differs = (sample) =>
    columns.success[before.get(sample)] !== columns.success[now.get(sample)]
    && columns.success[now.get(sample)] === item.b > item.a;
  const chosen = samples.find(differs) ?? samples[0];
  await showPair(
    { samples, pairs: samples.map((sample) => [before.get(sample), now.get(sample)]) },
    samples.indexOf(chosen),
    panel,
  );
}
