// The heat map: a metric over two settings; a cell is the best point of those that share both.

const NEEDS_TWO = "A heat map needs two settings in numbers in which the points differ.";

function heat(model, family, metric) {
  const { told, mean, best, beside } = ranked(model, family, metric);
  if (!told.length) return null;
  const names = inNumbers(model, told);
  const x = names.includes(view.across) ? view.across : names[0];
  const rest = names.filter((name) => name !== x);
  const y = rest.includes(view.down) ? view.down : rest[0];
  if (!y) return instead(family, NEEDS_TWO);
  const placed = told.filter((p) => isNumber(p.get(x)) && isNumber(p.get(y)));
  const [xs, ys] = [x, y].map((name) => sorted(new Set(placed.map((p) => p.get(name)))));
  const hidden = new Set();
  const cells = new Map();
  for (const p of placed) {
    const at = `${xs.indexOf(p.get(x))} ${ys.indexOf(p.get(y))}`;
    cells.set(at, [...(cells.get(at) || []), p]);
  }
  const drawn = [...cells].map(([at, candidates]) => {
    for (const other of settings(model, candidates)) hidden.add(other);
    const point = best(candidates);
    return { at: at.split(" ").map(Number), point, value: mean(point), of: candidates.length };
  }).sort((a, b) => b.at[1] - a.at[1] || a.at[0] - b.at[0]);
  const values = drawn.map((cell) => cell.value);
  const range = coloured(values, metric);
  const beyond = values.filter((v) => v < range[0] || v > range[1]).length;
  const over = hidden.size ? `the best point over ${[...hidden].map(model.label).join(", ")}` : "one point";
  const left = told.length - placed.length;
  const top = drawn.reduce((a, b) => (best([a.point, b.point]) === a.point ? a : b));
  const spec = {
    key: `heat-${family.place}`,
    title: family.title,
    note: `${family.notes}; a cell is the mean over seeds of ${over}.${left ? ` ${plural(left, "point")} without either setting left out.` : ""}${beyond ? ` ${beyond === 1 ? "1 cell lies" : `${beyond} cells lie`} beyond the colours, which are of the rest.` : ""}${beside}${told.some(isBroken) ? " ×: runs of the point diverged." : ""}${saidOf(family, metric)}`,
    description: `${metric.label} by ${model.label(x)} and ${model.label(y)}, ${xs.length} by ${ys.length}; best ${show(metric.name, top.value)} at ${model.label(x)} ${small(xs[top.at[0]])}, ${model.label(y)} ${small(ys[top.at[1]])}.`,
  };
  return grid(model, spec, metric, { x, y, xs, ys, drawn, range, knobs: settings(model, told) });
}

function grid(model, spec, metric, { x, y, xs, ys, drawn, range, knobs }) {
  const [width, height] = [(AREA.right - AREA.left) / xs.length, (AREA.bottom - AREA.top) / ys.length];
  const left = (i) => AREA.left + i * width;
  const top = (j) => AREA.bottom - (j + 1) * height;
  const drawing = canvas(spec);
  const buttons = el("div", { class: "points" });
  for (const [k, { at: [i, j], point, value, of }] of drawn.entries()) {
    const share = shareOf(value, range);
    const words = show(metric.name, value);
    const cell = svg("rect", { class: "cell", x: left(i), y: top(j), width, height });
    cell.style.fill = ramp(share);
    drawing.append(cell);
    if (words.length * 7 + 6 < width && height > 15) {
      const number = svg("text", { class: "inside", x: left(i) + width / 2, y: top(j) + height / 2 + 4, "text-anchor": "middle" }, isBroken(point) ? `${words} ×` : words);
      number.style.fill = inkOn(share);
      drawing.append(number);
    } else if (isBroken(point)) drawing.append(svg("path", { class: "broken", d: "M-4-4L4 4M-4 4L4-4", transform: `translate(${left(i) + width / 2} ${top(j) + height / 2})` }));
    const says = about(model, point, metric, knobs);
    const label = `${model.label(x)} ${small(xs[i])}, ${model.label(y)} ${small(ys[j])}: ${metric.label} ${words}${of > 1 ? `, the best of ${of} points` : ""}`;
    const button = spot(`${spec.key}/${xs[i]}/${ys[j]}/${k}`, { ...says, label, tip: () => [el("p", {}, label), ...says.tip()] }, left(i) + width / 2, top(j) + height / 2);
    button.classList.add("wide");
    button.style.width = `${(width / WIDTH) * 100}%`;
    button.style.height = `${(height / HEIGHT) * 100}%`;
    button.cell = [i, -j];
    buttons.append(button);
  }
  drawing.append(gridNames(xs, ys, width, height, model.label(x), model.label(y)));
  spec.reach = Math.hypot(width, height) / 2;
  const found = new Map(drawn.map((cell) => [cell.at.join(" "), cell]));
  const told = (i, j) => (found.has(`${i} ${j}`) ? spread(found.get(`${i} ${j}`).value, found.get(`${i} ${j}`).point.get(`${metric.name}_std`)) : "–");
  const fill = () => table(`${spec.title}: ${metric.label}`, [`${model.label(y)} \\ ${model.label(x)}`, ...xs.map((v) => small(v))], ys.map((v, j) => [small(v), ...xs.map((_, i) => told(i, j))]));
  return framed(spec, rampLegend(metric.label, range, false), drawing, buttons, fill);
}

function gridNames(xs, ys, width, height, across, down) {
  const group = svg("g", { class: "axes" });
  const every = Math.ceil(34 / width);
  xs.forEach((v, i) => i % every || group.append(svg("text", { x: AREA.left + (i + 0.5) * width, y: AREA.bottom + 16, "text-anchor": "middle" }, small(v, 3))));
  const each = Math.ceil(14 / height);
  ys.forEach((v, j) => j % each || group.append(svg("text", { x: AREA.left - 6, y: AREA.bottom - (j + 0.5) * height + 4, "text-anchor": "end" }, small(v, 3))));
  group.append(svg("text", { class: "label", x: (AREA.left + AREA.right) / 2, y: HEIGHT - 8, "text-anchor": "middle" }, across));
  group.append(svg("text", { class: "label", transform: `translate(12 ${(AREA.top + AREA.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, down));
  return group;
}
