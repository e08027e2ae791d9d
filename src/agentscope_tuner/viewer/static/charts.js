// Curves by uPlot, small pictures by hand.
import { h, number, svg, tableBehind } from "./dom.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const colours = () => [css("--blue"), css("--orange"), css("--violet"), css("--green")];

const WHOLE = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000];

// Error bars are inside the picture, too.
function ranged(series, low, high) {
  for (const s of series)
    s.error?.forEach((error, i) => {
      if (!error || s.values[i] === null) return;
      low = Math.min(low, s.values[i] - error);
      high = Math.max(high, s.values[i] + error);
    });
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

export function smoothed(values, window) {
  if (window < 2) return values;
  return values.map((value, at) => {
    const near = values.slice(Math.max(0, at - window + 1), at + 1).filter((v) => v !== null);
    return value === null || !near.length ? null : near.reduce((a, b) => a + b, 0) / near.length;
  });
}

// series: [{label, values, points, error, faint, dash}], all over the same x.
export function curve({ title, tip, x, xLabel, series, height = 150, onStep, sync, big }) {
  const box = h("figure", { class: big ? "chart big" : "chart" },
    h("figcaption", { title: tip }, title, tip && h("span", { class: "tip" }, tip)));
  const place = h("div", { class: "plot" });
  const rows = () => x.map((at, i) => [number(at), ...series.map((s) => number(s.values[i]))]);
  box.append(place, tableBehind("table", [xLabel, ...series.map((s) => s.label)], rows));
  const palette = colours();
  const line = (s, i) => ({
    label: s.label,
    stroke: palette[(s.colour ?? i) % palette.length],
    width: s.points ? 0 : s.faint ? 1 : 2,
    alpha: s.faint ? 0.4 : 1,
    dash: s.dash,
    spanGaps: true,
    paths: s.points ? () => null : undefined,
    points: s.points ? { show: true, size: 8, width: 2 } : { show: x.length < 2 },
    value: (_, v) => number(v),
  });
  const axis = () => ({
    stroke: css("--quiet"), grid: { stroke: css("--line"), width: 1 }, ticks: { show: false },
    font: "11px system-ui", size: 42, values: (_, at) => at.map((v) => (v === null ? "" : short(v))),
  });
  const options = (width) => ({
    width, height,
    scales: { x: { time: false }, y: { range: (_, low, high) => ranged(series, low, high) } },
    axes: [{ ...axis(), size: 26, space: 60, incrs: xLabel === "step" ? WHOLE : undefined }, axis()],
    legend: { show: Boolean(big) },
    cursor: { sync: sync ? { key: sync } : undefined, points: { size: 7 }, drag: { x: true, y: false } },
    series: [{ label: xLabel, value: (_, v) => number(v) }, ...series.map(line)],
    hooks: { draw: [(plot) => series.forEach((s, i) => s.error && bars(plot, i + 1, s, palette))] },
  });
  const watcher = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (!width || !box.isConnected) return;
    if (box.plot) return box.plot.setSize({ width, height });
    box.plot = new uPlot(options(width), [x, ...series.map((s) => s.values)], place);
    if (!onStep) return;
    let pressed = 0;
    box.plot.over.addEventListener("pointerdown", (event) => (pressed = event.clientX));
    box.plot.over.addEventListener("click", (event) => {
      const at = box.plot.cursor.idx;
      if (at !== null && Math.abs(event.clientX - pressed) < 4) onStep(at);
    });
  });
  watcher.observe(place);
  return box;
}

function bars(plot, at, s, palette) {
  const context = plot.ctx;
  context.save();
  context.strokeStyle = palette[(s.colour ?? at - 1) % palette.length];
  context.lineWidth = 1.5 * devicePixelRatio;
  plot.data[0].forEach((x, i) => {
    if (s.values[i] === null || !s.error[i]) return;
    const left = plot.valToPos(x, "x", true);
    context.beginPath();
    context.moveTo(left, plot.valToPos(s.values[i] - s.error[i], "y", true));
    context.lineTo(left, plot.valToPos(s.values[i] + s.error[i], "y", true));
    context.stroke();
  });
  context.restore();
}

const short = (value) =>
  Math.abs(value) >= 1000 ? new Intl.NumberFormat("en", { notation: "compact" }).format(value)
    : String(Number(value.toPrecision(3))).replace("-", "−");

export function sparkline(values) {
  const known = values.filter((v) => v !== null);
  if (known.length < 2) return h("span", { class: "quiet" }, known.length ? number(known[0]) : "–");
  const low = Math.min(...known), high = Math.max(...known);
  const points = values.map((v, i) => v === null ? null :
    `${(i / (values.length - 1)) * 98 + 1},${23 - ((v - low) / (high - low || 1)) * 22}`);
  const label = `from ${number(known[0])} to ${number(known.at(-1))}`;
  return svg("svg", { viewBox: "0 0 100 24", class: "spark", role: "img", "aria-label": label },
    svg("polyline", { points: points.filter(Boolean).join(" ") }));
}

// Bars that filter: `onPick(low, high, last)` of the bar that was chosen.
export function histogram(title, values, onPick, bins = 12) {
  const known = values.filter((v) => v !== null);
  if (!known.length) return null;
  const low = known.reduce((a, b) => Math.min(a, b)), high = known.reduce((a, b) => Math.max(a, b));
  const width = (high - low) / bins || 1;
  const counts = new Array(high > low ? bins : 1).fill(0);
  for (const v of known) counts[Math.min(counts.length - 1, Math.floor((v - low) / width))]++;
  const most = Math.max(...counts), w = 240 / counts.length;
  const picture = svg("svg", { viewBox: "0 0 240 84", class: "histogram", role: "group", "aria-label": title },
    counts.map((count, i) => {
      const from = low + i * width, to = from + width;
      const tall = count ? Math.max(2, (count / most) * 58) : 0;
      const label = `${number(from, 2)} to ${number(to, 2)}: ${count}`;
      const pick = () => onPick(from, to, i === counts.length - 1);
      return svg("g", {
        class: "bar", tabindex: count ? "0" : null, role: "button", "aria-label": label, onclick: pick,
        onkeydown: (event) => event.key === "Enter" && pick(),
      }, svg("title", {}, label),
      svg("rect", { x: i * w, y: 0, width: w, height: 70, class: "hit" }),
      svg("rect", { x: i * w + 1, y: 70 - tall, width: Math.max(1, w - 2), height: tall }),
      count ? svg("text", { x: i * w + w / 2, y: 66 - tall, class: "count" }, count) : null);
    }),
    svg("text", { x: 0, y: 82 }, number(low, 2)),
    svg("text", { x: 240, y: 82, class: "end" }, number(high, 2)));
  return h("figure", { class: "small" }, h("figcaption", {}, title), picture);
}
