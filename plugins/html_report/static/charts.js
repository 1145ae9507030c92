// What Bokeh draws of a block: lines over a numeric axis, or dots in rows.

const DASHES = ["solid", "dashed", "dotted", "dotdash"];
const MARKERS = ["circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star", "plus"];
const COLOURS = 7;

/** Bokeh takes $$…$$, \[…\] and \(…\) for formulas: names are none. */
const plain = (text) => text.replace(/\$\$/g, "$\u200b$").replace(/\\([[\]()])/g, "\\\u200b$1");

function short(text, most = 40) {
  return plain(text.length > most ? `${text.slice(0, most - 1)}…` : text);
}

function empty(bokeh, block, colour, more) {
  const made = bokeh.Plotting.figure({
    sizing_mode: "stretch_width",
    toolbar_location: null,
    tools: [],
    background_fill_color: null,
    border_fill_color: null,
    outline_line_color: null,
    min_border_right: 12,
    ...more,
  });
  for (const axis of [made.xaxis, made.yaxis].flat()) {
    Object.assign(axis, {
      axis_label_text_color: colour("--ink"),
      axis_label_text_font_style: "normal",
      axis_label_text_font_size: "13px",
      major_label_text_color: colour("--ink"),
      major_label_text_font_size: "12px",
      axis_line_color: colour("--line"),
      major_tick_line_color: colour("--line"),
      minor_tick_line_color: null,
    });
  }
  for (const grid of [made.xgrid, made.ygrid].flat()) grid.grid_line_color = colour("--grid");
  return made;
}

function padded([low, high]) {
  const margin = 0.04 * Math.max(high - low, 0.1);
  return [low - margin, high + margin];
}

const colourOf = (colour, k) => colour(`--series-${k % COLOURS}`);

function withLegend(bokeh, made, items, colour, width) {
  if (items.length < 2) return;
  const columns = Math.max(1, Math.floor(width / 190));
  made.add_layout(new bokeh.Legend({
    items: items.map(([name, renderers]) => new bokeh.LegendItem({ label: { value: short(name, 26) }, renderers })),
    ncols: Math.min(columns, items.length),
    label_text_color: colour("--ink"),
    label_text_font_size: "12px",
    background_fill_color: null,
    border_line_color: null,
    click_policy: "hide",
    orientation: "horizontal",
    location: "bottom_left",
    padding: 0,
  }), "below");
}

export function lines(bokeh, block, colour, width) {
  const made = empty(bokeh, block, colour, {
    height: 340 + 22 * Math.ceil(block.series.length / Math.max(1, Math.floor(width / 190))),
    ...(block.range ? { y_range: [block.range[0] - 0.03, block.range[1] + 0.03] } : {}),
  });
  made.xaxis.axis_label = plain(block.x);
  made.yaxis.axis_label = plain(block.y);
  // The first point may lie after the first mark, whose label would be cut.
  if (block.marks?.length) made.x_range.start = Math.min(...block.marks.map(([at]) => at));
  for (const [at, name] of block.marks ?? []) {
    made.add_layout(new bokeh.Span({
      location: at, dimension: "height", line_color: colour("--line"), line_dash: "dashed",
    }));
    made.add_layout(new bokeh.Label({
      x: at, y: 4, y_units: "screen", x_offset: 4, text: short(name, 20),
      text_color: colour("--ink"), text_font_size: "11px",
    }));
  }
  if (block.ticks) {
    made.xaxis.ticker = new bokeh.FixedTicker({ ticks: block.ticks.map((_, k) => k) });
    made.xaxis.major_label_overrides = new Map(block.ticks.map((name, k) => [k, short(name, 16)]));
    if (block.ticks.length > 4) made.xaxis.major_label_orientation = 0.6;
  }
  const legend = block.series.map((item, k) => {
    const renderers = [];
    const look = { color: colourOf(colour, k) };
    const name = plain(item.name);
    const y = item.y.map((value) => value ?? NaN);
    if (item.low) {
      renderers.push(made.varea({
        x: item.x, y1: item.low.map((v) => v ?? NaN), y2: item.high.map((v) => v ?? NaN),
        fill_alpha: 0.12, fill_color: look.color,
      }));
    }
    if (!item.points) {
      renderers.push(made.line(item.x, y, {
        line_width: 2.2, line_dash: DASHES[Math.floor(k / COLOURS) % DASHES.length], ...look,
      }));
    }
    if (!item.line) {
      const source = new bokeh.ColumnDataSource({ data: { x: item.x, y, name: item.x.map(() => name) } });
      renderers.push(made.scatter({ field: "x" }, { field: "y" }, {
        source, size: item.points ? 9 : 6, marker: MARKERS[k % MARKERS.length], ...look,
      }));
    }
    return [item.name, renderers];
  });
  hover(bokeh, made, [["", "@name"], [plain(block.x), "@x{0.[00]}"], [plain(block.y), "@y{0.[000]}"]]);
  withLegend(bokeh, made, legend, colour, width);
  return made;
}

export function dots(bokeh, block, colour, width) {
  const count = block.categories.length;
  const made = empty(bokeh, block, colour, {
    height: 90 + 26 * count + (block.series.length > 1 ? 40 : 0),
    x_range: padded(block.range),
    y_range: [count - 0.4, -0.6],
  });
  made.xaxis.axis_label = plain(block.x);
  made.yaxis.ticker = new bokeh.FixedTicker({ ticks: block.categories.map((_, k) => k) });
  made.yaxis.major_label_overrides = new Map(
    block.categories.map((name, k) => [k, short(name, width < 500 ? 16 : 28)]));
  made.ygrid.grid_line_color = null;
  made.add_layout(new bokeh.Span({ location: 0, dimension: "height", line_color: colour("--line") }));
  (block.means ?? []).forEach((item, k) => {
    if (!item) return;
    const [mean, low, high] = item;
    if (low !== null) made.segment([low], [k], [high], [k], { line_width: 2, color: colour("--ink") });
    made.scatter([mean], [k], { marker: "dash", angle: Math.PI / 2, size: 18, line_width: 3, color: colour("--ink") });
  });
  const legend = block.series.map((item, s) => {
    const spread = (block.series.length > 1 ? s - (block.series.length - 1) / 2 : 0) * 0.12;
    const source = new bokeh.ColumnDataSource({ data: {
      x: item.x.map((x) => x ?? NaN),
      y: item.category.map((k) => k + spread),
      name: item.category.map((k) => `${plain(block.categories[k])}, ${plain(item.name)}`),
    } });
    return [item.name, [made.scatter({ field: "x" }, { field: "y" }, {
      source, size: 9, marker: MARKERS[s % MARKERS.length], color: colourOf(colour, s), fill_alpha: 0.75,
    })]];
  });
  hover(bokeh, made, [["", "@name"], [plain(block.x), "@x{0.[000]}"]]);
  withLegend(bokeh, made, legend, colour, width);
  return made;
}

function hover(bokeh, made, tooltips) {
  const renderers = made.renderers.filter((item) => item.data_source?.data.name);
  made.add_tools(new bokeh.HoverTool({ tooltips, renderers }));
}
