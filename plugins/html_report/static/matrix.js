// Heat maps: tables whose cells have a colour, and may open something.

import { el } from "report/dom";
import { framed } from "report/tables";

/** A block of type "matrix"; `pick(row, column)` is called for a cell that opens its tasks. */
export function matrix(block, pick) {
  const values = block.rows.flatMap((row) => row.cells.map((cell) => cell.value ?? 0));
  const largest = Math.max(...values, 1e-9);
  const made = el(
    "table",
    { class: "matrix", "aria-label": block.caption },
    el("thead", {}, el("tr", {}, el("td", {}),
      block.columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, block.rows.map((row) => el("tr", {},
      el("th", { scope: "row", class: block.cells && !row.cells.some(({ at }) => at) ? "player" : null }, row.name),
      row.cells.map((cell, j) => td(block, cell, j, largest, pick, row.name))))),
  );
  const rows = block.rows.map((row) => [
    row.name, ...row.cells.map((cell) => [cell.shown, cell.interval, cell.more ?? ""].join(" ").trim()),
  ]);
  return framed(made, block, ["", ...block.columns], rows);
}

function td(block, cell, j, largest, pick, name) {
  const inside = [
    el("span", { class: "value" }, cell.shown),
    cell.interval ? el("span", { class: "interval" }, cell.interval) : null,
    cell.more ? el("span", { class: "interval" }, cell.more) : null,
    cell.own ? el("span", { class: "hidden" }, " trained on in this stage") : null,
  ];
  let content = inside;
  if (block.cells === "tasks" && cell.at) {
    content = el("button", {
      type: "button",
      id: `cell-${cell.at.join("-")}`,
      "aria-expanded": "false",
      "aria-label": `${block.columns[j]} ${name}: ${cell.shown} ${cell.interval}. Show its tasks.`,
      onclick: () => pick(...cell.at),
    }, inside);
  } else if (cell.links) {
    content = [inside, cell.links.length ? el("span", { class: "links" }, "seed", cell.links.map(
      ([text, href]) => el("a", { href, "aria-label": `Open the page of seed ${text}` }, text))) : null];
  }
  const kind = cell.value === null ? "undefined" : block.scale === "change" && cell.value < 0
    ? "heat less" : "heat";
  const share = block.scale === "size" ? cell.value / largest : Math.abs(cell.value ?? 0);
  return el("td", {
    class: `${kind}${cell.own ? " own" : ""}`,
    style: `--heat: ${Math.round(100 * Math.min(1, share))}%`,
  }, content);
}
