// One chart: lines, bands, bars and rules in an SVG, and over each point a button that says what it is.

// Okabe and Ito's colours; each series has a marker and a dash of its own too.
const COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"];
const DASHES = ["", "7 2.5", "2 2", "8 2.5 2 2.5", "4 2 1.5 2 1.5 2"];
const MARKERS = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",
  "M-3.7-3.7h7.4v7.4h-7.4z",
  "M0-4.8L4.4 3.4H-4.4z",
  "M0-5L5 0 0 5-5 0z",
  "M0 4.8L4.4-3.4H-4.4z",
  "M-1.6-4.6h3.2v3h3v3.2h-3v3h-3.2v-3h-3v-3.2h3z",
  "M-4.4-2.4l2-2 2.4 2.4 2.4-2.4 2 2-2.4 2.4 2.4 2.4-2 2-2.4-2.4-2.4 2.4-2-2 2.4-2.4z",
  "M-4.8 0L3.4-4.4V4.4z",
  "M4.8 0L-3.4-4.4V4.4z",
];
const look = (rank) => ({ colour: COLOURS[rank % 6], dash: DASHES[rank % 5], marker: MARKERS[rank % 9] });

// A drawing for a narrow page has fewer units of width, so that its letters are as large as those of a wide one.
const NARROW = matchMedia("(max-width: 37rem)");
let WIDTH, HEIGHT, AREA;

function measure() {
  [WIDTH, HEIGHT] = NARROW.matches ? [370, 300] : [560, 340];
  AREA = { left: 58, right: WIDTH - 14, top: 12, bottom: HEIGHT - 46 };
}
const DENSE = 40; // points of a line past which its markers would hide it
const MANY = 2000; // points without a line past which not all are drawn

function scale(low, high, from, to, log) {
  const f = log ? Math.log10 : (x) => x;
  const [a, b] = [f(low), f(high)];
  return (x) => from + ((f(x) - a) / (b - a || 1)) * (to - from);
}

function niceTicks(low, high) {
  const rough = (high - low) / 5 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) ticks.push(Number((k * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const ticks = [];
  const wide = Math.log10(high / low) > 2.5;
  for (let k = Math.floor(Math.log10(low)); k <= Math.ceil(Math.log10(high)); k++)
    for (const m of wide ? [1] : [1, 2, 5]) ticks.push(Number((m * 10 ** k).toPrecision(3)));
  const inside = ticks.filter((t) => t >= low * 0.999 && t <= high * 1.001);
  return inside.length > 2 ? inside : niceTicks(low, high).filter((tick) => tick > 0);
}

function limits(values, log, pad) {
  const real = values.filter((v) => isNumber(v) && Number.isFinite(v) && (!log || v > 0));
  if (!real.length) return [log ? 0.1 : 0, 1];
  let [low, high] = [Math.min(...real), Math.max(...real)];
  if (log) return low === high ? [low / 2, high * 2] : [low / (high / low) ** pad, high * (high / low) ** pad];
  const room = (high - low || Math.abs(high) || 1) * pad;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

// spec: {key, title, description, x: {label, log, ticks}, y: {label, log, zero, metric}, series: [{name, rank, points:
// [{x, y, low, high, left, right, tip, label, open}], bars, bare}], rules: [{y, low, high, level,
// label}]}
function chart(spec) {
  const { x, y } = spec;
  const series = spec.series.filter((line) => line.points.length);
  const points = series.flatMap((line) => line.points);
  const rules = spec.rules || [];
  const usable = (p) => isNumber(p.x) && isNumber(p.y) && Number.isFinite(p.x) && Number.isFinite(p.y) && (!x.log || p.x > 0) && (!y.log || p.y > 0);
  const [least, most] = y.metric ? kept([...points, ...rules.filter((r) => !r.level)].map((p) => p.y), y.metric) : [-Infinity, Infinity];
  const isOn = (p) => !Number.isFinite(p.y) || (p.y >= least && p.y <= most);
  const ends = [...points, ...rules].filter(isOn).flatMap((p) => [p.y, p.low, p.high]);
  const xs = limits(points.flatMap((p) => [p.x, p.left, p.right]), x.log, 0.05);
  const ys = y.metric ? spanned(ends, y.metric, 0.08) : limits(y.zero ? [0, ...ends] : ends, y.log, 0.08);
  const toX = scale(...xs, AREA.left, AREA.right, x.log);
  const toY = scale(...ys, AREA.bottom, AREA.top, y.log);
  const drawing = canvas(spec);
  drawing.append(axes(spec, xs, ys, toX, toY));
  const buttons = el("div", { class: "points" });
  const edge = { x: AREA.left, y: AREA.top, width: AREA.right - AREA.left, height: AREA.bottom - AREA.top };
  drawing.append(svg("clipPath", { id: `${spec.key}-area` }, svg("rect", edge)));
  for (const rule of rules.filter(isOn)) drawing.append(drawRule(rule, toX, toY, ys));
  series.forEach((line) => drawing.append(line.bars ? drawBars(line, series, toX, toY, xs) : drawLine(line, toX, toY, usable, isOn, spec.key)));
  const { drawn, sentence } = arrows(series, isOn, least, toX);
  drawing.append(...drawn);
  const all = series.flatMap((line) => line.points.filter(usable).map((point) => ({ point, line })));
  all.forEach(({ point, line }, i) => buttons.append(pointButton(spec, point, line, i, toX, (v) => Math.min(Math.max(toY(v), AREA.top), AREA.bottom))));
  return framed({ ...spec, note: (spec.note || "") + sentence }, legend(spec, series), drawing, buttons, () => (spec.table ? spec.table() : plainTable(spec, series)));
}

function canvas(spec, height = HEIGHT) {
  const names = { title: `${spec.key}-title`, desc: `${spec.key}-desc` };
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-labelledby": `${names.title} ${names.desc}` });
  drawing.append(svg("title", { id: names.title }, spec.title), svg("desc", { id: names.desc }, spec.description));
  return drawing;
}

// What every chart has around its drawing: title, note, legend, buttons over its points, and its numbers as a table.
function framed(spec, legend, drawing, buttons, fill) {
  roving(buttons);
  const drawn = el("div", { class: "drawing" }, drawing, buttons);
  pointing(drawn, buttons, spec.reach);
  return el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, el("h3", {}, spec.title), spec.note ? el("p", { class: "quiet" }, spec.note) : null),
    legend,
    drawn,
    folded(`${spec.key}-table`, "The numbers", () => el("div", { class: "scroll" }, fill())),
  );
}

function axes(spec, xs, ys, toX, toY) {
  const group = svg("g", { class: "axes" });
  const yTicks = spec.y.log ? logTicks(...ys) : niceTicks(...ys);
  for (const tick of yTicks) {
    const at = toY(tick);
    group.append(svg("line", { class: "grid", x1: AREA.left, x2: AREA.right, y1: at, y2: at }));
    group.append(svg("text", { x: AREA.left - 7, y: at + 4, "text-anchor": "end" }, small(tick)));
  }
  group.append(svg("line", { class: "axis", x1: AREA.left, x2: AREA.right, y1: AREA.bottom, y2: AREA.bottom }));
  let last = -Infinity;
  for (const tick of spec.x.ticks || (spec.x.log ? logTicks(...xs) : niceTicks(...xs))) {
    const at = toX(tick);
    if (at < AREA.left - 1 || at > AREA.right + 1) continue;
    group.append(svg("line", { class: "axis", x1: at, x2: at, y1: AREA.bottom, y2: AREA.bottom + 4 }));
    if (at - last < 30) continue; // told by its point, and by the table
    group.append(svg("text", { x: at, y: AREA.bottom + 18, "text-anchor": "middle" }, small(tick)));
    last = at;
  }
  const middle = (AREA.left + AREA.right) / 2;
  group.append(svg("text", { class: "label", x: middle, y: HEIGHT - 8, "text-anchor": "middle" }, spec.x.label));
  const turned = `translate(12 ${(AREA.top + AREA.bottom) / 2}) rotate(-90)`;
  group.append(svg("text", { class: "label", transform: turned, "text-anchor": "middle" }, spec.y.label));
  return group;
}

function drawLine(line, toX, toY, usable, isOn, key) {
  const { colour, dash, marker } = look(line.rank);
  const within = svg("g", { "clip-path": `url(#${key}-area)` }); // a line leads to a point beyond the axis, and a band may too
  const group = svg("g", { fill: colour, stroke: colour }, within);
  const seen = line.points.filter(usable);
  const at = (p, v) => `${toX(p.x).toFixed(1)} ${toY(v).toFixed(1)}`;
  const banded = seen.filter((p) => isNumber(p.low) && isNumber(p.high) && p.high > p.low);
  if (banded.length > 1 && !line.bars && !line.errors) {
    const outline = [...banded.map((p) => at(p, p.high)), ...banded.toReversed().map((p) => at(p, p.low))];
    within.append(svg("path", { class: "band", d: `M${outline.join("L")}Z` }));
  } else for (const p of banded) within.append(svg("path", { class: "error", d: `M${at(p, p.low)}L${at(p, p.high)}` }));
  for (const p of seen.filter((p) => isNumber(p.left) && p.right > p.left)) within.append(svg("path", { class: "error", d: `M${at({ x: p.left }, p.y)}L${at({ x: p.right }, p.y)}` }));
  if (seen.length > 1 && !line.bare) within.append(svg("path", { class: "line", "stroke-dasharray": dash, d: `M${seen.map((p) => at(p, p.y)).join("L")}` }));
  const every = Math.ceil(seen.length / (line.bare ? MANY : DENSE)); // without a line a marker is all there is of its point
  seen.forEach((p, i) => {
    if ((i % every && !p.big) || !isOn(p)) return;
    group.append(svg("path", { class: p.big ? "marker big" : "marker", d: marker, transform: `translate(${at(p, p.y)})${p.big ? " scale(1.7)" : ""}` }));
  });
  for (const p of seen.filter(isOn)) if (p.broken) group.append(svg("path", { class: "broken", d: "M-6-6L6 6M-6 6L6-6", transform: `translate(${at(p, p.y)})` }));
  return group;
}

function drawRule(rule, toX, toY, ys) {
  const group = svg("g", { class: rule.level ? "rule level" : "rule" });
  const at = toY(rule.y);
  if (isNumber(rule.low)) group.append(svg("rect", { class: "band", x: AREA.left, width: AREA.right - AREA.left, y: toY(rule.high), height: Math.max(0, toY(rule.low) - toY(rule.high)) }));
  group.append(svg("line", { x1: AREA.left, x2: AREA.right, y1: at, y2: at }));
  const below = at < AREA.top + 18;
  const place = rule.level ? { x: AREA.right - 5, "text-anchor": "end" } : { x: AREA.left + 5 }; // which may lie as close as this
  group.append(svg("text", { ...place, y: below ? at + 15 : at - 5 }, rule.label));
  return group;
}

function drawBars(line, all, toX, toY, xs) {
  const group = svg("g", { fill: look(line.rank).colour });
  const bars = all.filter((other) => other.bars);
  const step = line.points.length > 1 ? toX(line.points[1].x) - toX(line.points[0].x) : 20;
  const width = (step * 0.84) / bars.length;
  const shift = (bars.indexOf(line) - (bars.length - 1) / 2) * width;
  for (const p of line.points) {
    const height = AREA.bottom - toY(p.y);
    if (height > 0) group.append(svg("rect", { class: `bar bar-${line.rank}`, x: (toX(p.x) + shift - width / 2).toFixed(1), y: toY(p.y).toFixed(1), width: width.toFixed(1), height: height.toFixed(1) }));
  }
  return group;
}

function legend(spec, series) {
  if (series.length < 2 && !spec.legendTitle) return el("div", { class: "legend" });
  const entry = (line) => {
    const { colour, dash, marker } = look(line.rank);
    const sample = svg("svg", { viewBox: "0 0 30 12", class: "swatch", "aria-hidden": "true" });
    if (line.bars) sample.append(svg("rect", { class: `bar bar-${line.rank}`, x: 8, y: 1, width: 14, height: 10, fill: colour }));
    else {
      if (!line.bare) sample.append(svg("path", { class: "line", d: "M1 6H29", stroke: colour, "stroke-dasharray": dash }));
      sample.append(svg("path", { d: marker, transform: "translate(15 6)", fill: colour }));
    }
    return el("li", {}, sample, line.name);
  };
  return el("div", { class: "legend" }, spec.legendTitle ? el("span", { class: "quiet" }, spec.legendTitle) : null, el("ul", {}, ...series.map(entry)));
}

function pointButton(spec, point, line, place, toX, toY) {
  const height = line.bars ? (toY(point.y) + AREA.bottom) / 2 : toY(point.y);
  return spot(`${spec.key}/${line.name}/${point.x}/${place}`, point, toX(point.x), height);
}

// A button over a place of a drawing, which says what is drawn there.
function spot(key, point, x, y, height = HEIGHT) {
  const button = el("button", { type: "button", class: "point", "data-key": key, "aria-label": point.label });
  button.style.left = `${(x / WIDTH) * 100}%`;
  button.style.top = `${(y / height) * 100}%`;
  button.tip = point.tip;
  button.addEventListener("focus", () => button.matches(":focus-visible") && showTip(button, point.tip));
  button.addEventListener("blur", () => hideTip(button, true));
  button.addEventListener("click", () => (point.open ? point.open() : showTip(button, point.tip)));
  return button;
}

// The pointer speaks of the nearest point, so that one on top of another hides nothing.
function pointing(drawn, buttons, reach = 20) {
  let at = null;
  const go = (to) => {
    if (at === to) return;
    at?.classList.remove("near");
    if (at && !to) hideTip(at);
    at = to;
    to?.classList.add("near");
    if (to) showTip(to, to.tip);
  };
  const find = (event) => {
    if (event.target.closest(".point")) return event.target; // pressed by a key or by other means than a pointer
    const box = drawn.getBoundingClientRect();
    const near = (reach * box.width) / Math.max(box.width, WIDTH);
    let [best, least] = [null, near ** 2];
    for (const button of buttons.children)
      for (const [left, top] of button.spots || [[parseFloat(button.style.left), parseFloat(button.style.top)]]) {
        const x = (left / 100) * box.width - (event.clientX - box.left);
        const y = (top / 100) * box.height - (event.clientY - box.top);
        if (x * x + y * y < least) [best, least] = [button, x * x + y * y];
      }
    return best;
  };
  drawn.addEventListener("pointermove", (event) => go(find(event)));
  drawn.addEventListener("pointerleave", () => go(null));
  drawn.addEventListener("click", (event) => event.target.closest(".point") || find(event)?.click());
}

// One stop of the Tab key for each chart; the arrow keys go from point to point, in a grid in its four directions.
function roving(buttons) {
  const all = [...buttons.children];
  all.forEach((button, i) => (button.tabIndex = i ? -1 : 0));
  buttons.addEventListener("keydown", (event) => {
    const here = all.indexOf(event.target);
    const to = beyond(all, all[here], event.key) ?? { ArrowRight: here + 1, ArrowDown: here + 1, ArrowLeft: here - 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || here < 0 || !all[to]) return;
    event.preventDefault();
    all[here].tabIndex = -1;
    all[to].tabIndex = 0;
    all[to].focus();
  });
}

function beyond(all, from, key) {
  const step = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[key];
  if (!step || !from?.cell) return null;
  const along = (cell) => (cell[0] - from.cell[0]) * step[0] + (cell[1] - from.cell[1]) * step[1];
  const across = (cell) => (step[0] ? cell[1] - from.cell[1] : cell[0] - from.cell[0]);
  const ahead = all.filter((b) => along(b.cell) > 0 && across(b.cell) === 0).sort((a, b) => along(a.cell) - along(b.cell));
  return ahead.length ? all.indexOf(ahead[0]) : -1;
}

function plainTable(spec, series) {
  const xs = [...new Set(series.flatMap((line) => line.points.map((p) => p.x)))].sort((a, b) => a - b);
  const found = series.map((line) => new Map(line.points.map((p) => [p.x, p.y])));
  const rows = xs.map((at) => [small(at), ...found.map((line) => small(line.get(at)))]);
  return table(spec.title, [spec.x.label, ...series.map((line) => line.name)], rows);
}
