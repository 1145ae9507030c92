// A turn: what the model saw, what it wrote and how sure it was, what came of it.

import { el } from "report/dom";

/** A long text scrolls, so the keyboard has to reach it. */
const reach = (text) => (text.length > 500 || text.split("\n").length > 12 ? 0 : null);
const percent = (chance) => `${(100 * chance).toFixed(chance > 0 && chance < 0.1 ? 1 : 0)}%`;

/** Show a turn; `beside` is the same turn of the other episode, `side` 0 or 1, of this `name`. */
export function turn(own, number, beside, side, name) {
  const marks = [
    own.valid === false ? "invalid" : null,
    own.cut_off ? "cut off" : null,
    own.left_out ? "not learnt from" : null,
    own.penalty ? `penalty ${own.penalty}` : null,
    own.reward ? `reward ${own.reward}` : null,
    ...Object.entries(own.info ?? {}).map(([name, value]) => `${name} ${value}`),
  ].filter(Boolean);
  return el(
    "div",
    { class: "turn" },
    el("h4", {}, `Turn ${number + 1}`, el("span", { class: "side-name" }, `, ${name}`)),
    own.restart ? el("p", { class: "note" }, "A new context: the turns before are not in it.") : null,
    el("p", { class: "who" }, "The model saw"),
    el("pre", { dir: "auto", tabindex: reach(own.observation), class: "saw" }, own.observation),
    el("p", { class: "who" }, own.candidates || own.count ? "It chose" : "It wrote"),
    own.pieces ? written(own) : el("pre", { dir: "auto", tabindex: reach(own.text), class: "wrote" }, own.text),
    sureness(own),
    "action" in own
      ? el("p", {}, "Action: ", own.action === null ? el("em", {}, "none") : el("code", { dir: "auto" }, own.action))
      : null,
    candidates(own, beside, side),
    marks.length ? el("p", { class: "marks" }, marks.map((mark) => el("span", {}, mark))) : null,
  );
}

/** The tokens, each the darker the less likely it was. */
function written(own) {
  return el("pre", { dir: "auto", tabindex: reach(own.pieces.join("")), class: "wrote" }, own.pieces.map((piece, k) => el(
    "span",
    { class: "token", style: `--doubt-share: ${Math.round(100 * (1 - own.chances[k]))}%`, title: percent(own.chances[k]) },
    piece,
  )));
}

function sureness(own) {
  if (own.pieces?.length) {
    const least = own.chances.indexOf(Math.min(...own.chances));
    const mean = own.chances.reduce((sum, chance) => sum + chance, 0) / own.chances.length;
    return el("p", { class: "note" },
      `${own.pieces.length} tokens, probability ${percent(mean)} on average, least at `,
      el("q", {}, el("bdi", {}, own.pieces[least].trim())), ` (${percent(own.chances[least])}). `,
      "The darker, the less likely.");
  }
  if (own.chance === undefined) return null;
  return el("p", { class: "note" }, `Probability ${percent(own.chance)} among ${own.count}.`);
}

/** The candidates with their probabilities; beside the earlier ones where these are known. */
function candidates(own, beside, side) {
  if (!own.candidates) return null;
  const chances = own.chances ?? own.candidates.map((_, k) => (k === own.choice ? own.chance : null));
  const same = side === 1 && beside?.candidates?.length === own.candidates.length
    && beside.candidates.every((name, k) => name === own.candidates[k])
    && beside.observation === own.observation;
  const before = same
    ? beside.chances ?? own.candidates.map((_, k) => (k === beside.choice ? beside.chance : null))
    : null;
  const order = own.candidates.map((_, k) => k);
  if (own.chances) order.sort((a, b) => chances[b] - chances[a]);
  const cell = (chance) => el("td", { class: "number bar", style: `--share: ${100 * (chance ?? 0)}%` },
    chance === null || chance === undefined ? "–" : percent(chance));
  return el(
    "details",
    { open: order.length <= 12 },
    el("summary", {}, `${order.length} candidates`),
    el("table", { class: "candidates" },
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "candidate"),
          before ? el("th", { scope: "col", class: "number" }, "before") : null,
          el("th", { scope: "col", class: "number" }, before ? "now" : "probability"))),
        el("tbody", {}, order.map((k) => el("tr", { class: k === own.choice ? "chosen" : null },
          el("th", { scope: "row", dir: "auto" }, own.candidates[k], k === own.choice ? " ◂" : "",
            k === own.choice ? el("span", { class: "hidden" }, " (chosen)") : null),
          before ? cell(before[k]) : null, cell(chances[k]))))),
  );
}
