// One episode, or two of the same task side by side, turn by turn.

import { button, el, fill } from "report/dom";
import { episode, index, outcome } from "report/index";
import { setLink } from "report/links";
import { turn } from "report/turn";

const ENDED = {
  terminated: "ended by the environment",
  truncated: "cut off by the environment",
  max_turns: "ended at the limit of turns",
  max_context: "ended as the context was full",
  invalid: "ended after too many invalid turns",
  fault: "the environment raised an error",
  no_expert: "there was no demonstration",
  gave_up: "the demonstration ended first",
  not_allowed: "the policy could not have acted so",
  too_long: "the answer is longer than max_new_tokens",
};

const viewer = el("div", { id: "viewer", class: "panel", hidden: true });
let rowNames = [];

export function startEpisodes(rows) {
  rowNames = rows;
}

/** Show pair number `chosen` of the samples of a task, in `host`. */
export async function showPair({ samples, pairs }, chosen, host) {
  const choices = samples.length > 1
    ? el("p", {}, "Sample ", samples.map((sample, k) => button(
      String(sample), () => showPair({ samples, pairs }, k, host),
      { "aria-pressed": String(k === chosen) })))
    : null;
  await show(pairs[chosen], host, choices);
}

/** Follow a link to an episode, and to one before it. */
export async function showEpisode(where, before) {
  const { places } = await index();
  const found = [before, where].map((name) => places.get(name)).filter((n) => n !== undefined);
  if (found.length) await show(found, document.getElementById("episodes"), null);
}

async function show(found, host, choices) {
  const { columns, tests } = await index();
  const episodes = await Promise.all(found.map(episode));
  const now = found.at(-1);
  setLink({
    episode: columns.where[now],
    before: found.length > 1 ? columns.where[found[0]] : null,
  });
  const heading = el(
    "h3",
    { tabindex: -1 },
    `${columns.environment[now]}: `, el("bdi", {}, columns.task[now]),
  );
  const sides = found.map((place) => about(columns, place));
  const differ = episodes.length > 1 ? firstDifference(...episodes) : -1;
  const count = Math.max(...episodes.map(({ turns }) => turns.length));
  const rows = [];
  for (let t = 0; t < count; t++) {
    if (t === differ) rows.push(el("p", { class: "differ" }, "From here on they differ"));
    rows.push(el("div", { class: "turns" }, episodes.map((own, k) =>
      own.turns[t]
        ? turn(own.turns[t], t, other(episodes, k)?.turns[t], k, sideName(columns, found[k]))
        : el("div", { class: "turn none" }, "–"))));
  }
  const prompt = episodes[0].prompt;
  viewer.className = found.length > 1 ? "panel pair" : "panel";
  fill(
    viewer,
    heading,
    choices,
    el("div", { class: "turns sides" }, sides),
    prompt ? el("details", {}, el("summary", {}, "The exact beginning of the context"),
      el("pre", { dir: "auto", tabindex: 0 }, prompt)) : null,
    ...rows,
    el("div", { class: "turns" }, episodes.map((own, k) => ending(own, columns, found[k]))),
    siblings(columns, tests, now, found, host),
  );
  viewer.hidden = false;
  host.append(viewer);
  heading.focus({ preventScroll: true });
  viewer.scrollIntoView({ block: "start" });
}

const other = (episodes, k) => (episodes.length > 1 ? episodes[1 - k] : null);

/** The first turn in which two episodes of one task do not go alike; -1 if they are equal. */
function firstDifference(a, b) {
  const count = Math.max(a.turns.length, b.turns.length);
  for (let t = 0; t < count; t++) {
    const [x, y] = [a.turns[t], b.turns[t]];
    if (!x || !y || x.observation !== y.observation || x.text !== y.text) return t;
  }
  return -1;
}

function sideName(columns, place) {
  return columns.kind[place] === "train"
    ? `training, update ${columns.update[place] + 1} of stage ${columns.stage[place]}`
    : rowNames[columns.stage[place]];
}

function about(columns, place) {
  const result = outcome(columns, place);
  return el(
    "div",
    { class: "side" },
    el("strong", {}, sideName(columns, place)),
    el("span", { class: `outcome ${result.replace(" ", "-")}` }, result),
    el("span", {}, `reward ${columns.reward[place]}`),
    el("span", {}, `${columns.turns[place]} turn${columns.turns[place] === 1 ? "" : "s"}`),
    columns.difficulty[place] ? el("span", {}, `difficulty ${columns.difficulty[place]}`) : null,
    el("code", {}, columns.where[place]),
  );
}

function ending(own, columns, place) {
  const modes = Object.entries(own.failures ?? {}).map(
    ([mode, at]) => `${mode.replaceAll("_", " ")} (turn ${at})`);
  return el(
    "div",
    { class: "ending" },
    el("p", {}, `Result: ${outcome(columns, place)}, ${ENDED[columns.ended[place]] ?? columns.ended[place]}.`),
    modes.length ? el("p", {}, `Failure modes: ${modes.join(", ")}.`) : null,
    own.fault ? el("pre", { dir: "auto", tabindex: 0 }, own.fault) : null,
    own.demonstrated ? el("p", {}, "A demonstration: the model did not play.") : null,
  );
}

/** Buttons that show the same task after another stage beside this episode. */
function siblings(columns, tests, now, found, host) {
  if (columns.kind[now] !== "evaluate") return null;
  const same = rowNames.map((_, row) =>
    (tests.get(`${row}\n${columns.environment[now]}\n${columns.task[now]}`) ?? [])
      .find((place) => columns.sample[place] === columns.sample[now]));
  const others = same.map((place, row) => [place, row]).filter(
    ([place]) => place !== undefined && !found.includes(place));
  if (!others.length) return null;
  return el("p", { class: "chips" }, "The same task: ", others.map(([place, row]) => button(
    `beside ${rowNames[row]}`,
    () => show([place, now].sort((a, b) => columns.stage[a] - columns.stage[b]), host, null))));
}
