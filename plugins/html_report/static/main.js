import { el } from "report/dom";
import { table } from "report/tables";
import { matrix } from "report/matrix";
import { figure } from "report/figures";
import { openExplorer } from "report/explorer";
import { openTasks, startTasks } from "report/tasks";
import { showEpisode } from "report/episode";
import { onLink } from "report/links";

const data = JSON.parse(document.getElementById("data").textContent);
const content = document.getElementById("content");

const MAKE = {
  text: (block) => el("div", { class: "text" }, block.lines.map((line) => el("p", {}, line))),
  table,
  chart: figure,
  matrix: (block) => matrix(block, (row, column) => openTasks(row, column)),
};

function section(found) {
  const title = found.title
    ? el("h2", { id: `title-${found.id}` }, found.title)
    : el("h2", { id: `title-${found.id}`, class: "hidden" }, "In short");
  return el(
    "section",
    { id: found.id, "aria-labelledby": `title-${found.id}` },
    title,
    grouped(found.blocks),
  );
}

/** Charts, and heat maps, that follow one another stand side by side where there is room. */
function grouped(blocks) {
  const made = [];
  blocks.forEach((block, k) => {
    const shown = MAKE[block.type](block);
    const beside = ["chart", "matrix"].includes(block.type)
      && [blocks[k - 1], blocks[k + 1]].some((other) => other?.type === block.type);
    if (!beside) made.push(shown);
    else if (blocks[k - 1]?.type === block.type) made.at(-1).append(shown);
    else made.push(el("div", { class: `beside ${block.type}s` }, shown));
  });
  return made;
}

document.title = data.title;
document.querySelector("h1").textContent = data.title;
document.getElementById("about").textContent = data.about;
content.append(...data.sections.map(section));
const sections = data.sections.map(({ id, title }) => [id, title]).filter(([, title]) => title);
if (data.episodes) {
  startTasks(data);
  const explorer = openExplorer(data);
  content.append(explorer);
  sections.push(["episodes", "Episodes"]);
}
document.querySelector("nav").append(
  ...sections.map(([id, title]) => el("a", { href: `#${id}` }, title)),
);
if (data.episodes) onLink({ cell: openTasks, episode: showEpisode });
document.documentElement.dataset.ready = "yes";
performance.mark("ready");
