// Charts by Bokeh: drawn when they come into view, and again when the colours change.

import { el, save, say } from "report/dom";
import { library } from "report/packed";
import { copies } from "report/tables";
import { dots, lines } from "report/charts";

const dark = matchMedia("(prefers-color-scheme: dark)");
let loaded = null;

/** The charting library, from this file. */
function bokeh() {
  loaded ??= library().then((source) => {
    document.head.append(el("script", {}, source));
    Bokeh.set_log_level("off");
    return Bokeh;
  });
  return loaded;
}

/** A block of type "chart". */
export function figure(block) {
  const plot = el("div", { class: "plot", role: "img", "aria-label": `${block.caption}. The numbers are in the table below.` });
  let view = null;
  const draw = async () => {
    const library = await bokeh();
    const colours = getComputedStyle(document.documentElement);
    const made = (block.kind === "dots" ? dots : lines)(library, block, (name) =>
      colours.getPropertyValue(name).trim(), plot.clientWidth);
    plot.replaceChildren();
    view = await library.Plotting.show(made, plot);
    plot.dataset.drawn = "yes";
  };
  new IntersectionObserver(([entry], observer) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    draw();
    dark.addEventListener("change", draw);
  }, { rootMargin: "200px" }).observe(plot);
  const name = block.caption.split(/[:,]/)[0].toLowerCase().replaceAll(/\W+/g, "-");
  const images = [
    el("button", { type: "button", onclick: async () => copyImage(await svg(view), `${name}.svg`) }, "SVG"),
    el("button", { type: "button", onclick: async () => copyImage(await png(await svg(view)), `${name}.png`) }, "PNG"),
  ];
  const [columns, rows] = numbers(block);
  return el(
    "figure",
    { class: "block" },
    el("figcaption", {}, block.caption),
    plot,
    block.note ? el("p", { class: "note" }, block.note) : null,
    el("details", {}, el("summary", {}, "The numbers"), el(
      "div",
      { class: "scroll tall", tabindex: 0, role: "region", "aria-label": `Numbers: ${block.caption}` },
      el("table", {},
        el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, rows.map((row) => el("tr", {}, row.map((text, j) =>
          j ? el("td", { class: "number" }, text) : el("th", { scope: "row" }, text)))))))),
    copies(block.caption, columns, rows, images),
  );
}

function numbers(block) {
  const shown = (value) => (typeof value === "number" ? String(Math.round(value * 1e4) / 1e4) : value ?? "");
  if (block.kind === "dots") {
    const rows = block.series.flatMap((item) =>
      item.x.map((x, k) => [block.categories[item.category[k]], item.name, shown(x)]));
    return [["", "of", block.x], rows];
  }
  const rows = block.series.flatMap((item) =>
    item.x.map((x, k) => [item.name, shown(x), shown(item.y[k])]));
  return [["", block.x, block.y], rows];
}

async function svg(view) {
  const drawn = await view.export("svg").to_blob();
  return new Blob([await drawn.text()], { type: "image/svg+xml" });
}

async function png(drawn) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(await drawn.text())}`;
  await image.decode();
  const canvas = el("canvas", { width: 2 * image.width, height: 2 * image.height });
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

/** Put a picture onto the clipboard, or into a file where that is not possible. */
async function copyImage(blob, name) {
  try {
    // An SVG as text as well, which editors take.
    const text = blob.type === "image/png" ? {} : { "text/plain": new Blob([await blob.text()], { type: "text/plain" }) };
    await navigator.clipboard.write([new ClipboardItem({ [blob.type]: blob, ...text })]);
    say("Copied.");
  } catch {
    save(blob, name);
  }
}
