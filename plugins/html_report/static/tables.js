// Tables: shown, and copied as Markdown, LaTeX or CSV.

import { button, copyText, el } from "report/dom";

const flat = (text) => text.replace(/\s*\n\s*/g, " ");
const isNumber = (text) => /^[-+–\d]/.test(text) && !/[a-z]{4}/i.test(text);

/** A block of type "table". */
export function table(block) {
  const numeric = block.columns.map(
    (_, j) => j > 0 && block.rows.every((row) => row[j] === "" || isNumber(row[j])),
  );
  const align = (j) => (numeric[j] ? "number" : null);
  const made = el(
    "table",
    { "aria-label": block.caption || null },
    el("thead", {}, el("tr", {}, block.columns.map(
      (name, j) => el("th", { scope: "col", class: align(j) }, name),
    ))),
    el("tbody", {}, block.rows.map((row) => el("tr", {}, row.map((text, j) =>
      j === 0
        ? el("th", { scope: "row" }, text)
        : el("td", { class: align(j) }, text),
    )))),
  );
  return framed(made, block, block.columns, block.rows);
}

/** A table in a box that scrolls, with what it says below and the buttons to copy it. */
export function framed(made, block, columns, rows) {
  const box = el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": block.caption || "table" },
    made,
  );
  const note = block.note ? el("p", { class: "note" }, block.note) : null;
  const caption = block.caption ? el("p", { class: "caption" }, block.caption) : null;
  return el("div", { class: "block" }, caption, box, note, copies(block.caption, columns, rows));
}

/** The buttons that copy a table. */
export function copies(caption, columns, rows, more = []) {
  const forms = { Markdown: [markdown, "md"], LaTeX: [latex, "tex"], CSV: [csv, "csv"] };
  return el(
    "div",
    { class: "copies", role: "group", "aria-label": `Copy: ${caption}` },
    "Copy as ",
    Object.entries(forms).map(([name, [form, ending]]) =>
      button(name, () => copyText(form(columns, rows.map((row) => row.map(flat))), `table.${ending}`)),
    ),
    more,
  );
}

export function markdown(columns, rows) {
  const escaped = (text) => text.replace(/[\\`*_[\]<>|~#&$]/g, "\\$&");
  const line = (cells) => `| ${cells.map(escaped).join(" | ")} |`;
  return [line(columns), `|${" --- |".repeat(columns.length)}`, ...rows.map(line), ""].join("\n");
}

const LATEX = {
  "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
  "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", "[": "{[}", "*": "{*}", "–": "--",
  "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
};

export function latex(columns, rows) {
  const escaped = (text) => text.replace(/[\\~^<>|[*–&%$#_{}]/g, (letter) => LATEX[letter]);
  const line = (cells) => `${cells.map(escaped).join(" & ")} \\\\`;
  const places = `l${"r".repeat(columns.length - 1)}`;
  return [
    `\\begin{tabular}{${places}}`, "\\toprule", line(columns), "\\midrule", ...rows.map(line),
    "\\bottomrule", "\\end{tabular}", "",
  ].join("\n");
}

export function csv(columns, rows) {
  // A spreadsheet takes none of the names for a formula; numbers stay numbers.
  const safe = (text) => (/^[=@+-]/.test(text) && !/^[-+][\d.]+$/.test(text) ? `'${text}` : text);
  const cell = (text) => `"${safe(text).replaceAll('"', '""')}"`;
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
}
