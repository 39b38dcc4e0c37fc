// Parallel coordinates: an upright axis for each setting, ε and the metric, and a line across them for each point.

function parallel(model, family, metric) {
  const { told, mean, beside } = ranked(model, family, metric);
  if (!told.length) return null;
  const knobs = settings(model, told);
  const names = knobs.filter((name) => (view.axes ? view.axes.has(name) : name === "epsilon" || knobs.filter((k) => k !== "epsilon").indexOf(name) < 4));
  const ordered = [...names.filter((name) => name !== "epsilon"), ...names.filter((name) => name === "epsilon")];
  if (!ordered.length) return instead(family, "Parallel coordinates need a setting in which the points differ, and an axis chosen.");
  const axes = [...ordered.map((name) => axisOf(model.label(name), name, told.map((p) => p.get(name)))), axisOf(metric.label, metric.name, told.map(mean), true)];
  const finite = told.map(mean).filter(Number.isFinite);
  const range = coloured(finite, metric);
  const spec = {
    key: `parallel-${family.place}`,
    title: family.title,
    note: `${family.notes}; a line is a point, a mean over seeds, coloured by ${metric.label}.${beside}${told.some(isBroken) ? " Dashed: runs of the point diverged." : ""}${saidOf(family, metric)}`,
    description: `${plural(told.length, "point")} across ${axes.map((axis) => axis.label).join(", ")}; ${metric.label} from ${show(metric.name, Math.min(...finite))} to ${show(metric.name, Math.max(...finite))}.`,
  };
  const drawing = canvas(spec);
  const [top, bottom] = [AREA.top + (NARROW.matches ? 46 : 32), HEIGHT - 16];
  const at = (k) => 30 + (k / (axes.length - 1)) * (WIDTH - 76);
  const down = (share) => bottom - share * (bottom - top);
  const buttons = el("div", { class: "points" });
  const lines = svg("g", {});
  drawing.append(lines);
  axes.forEach((axis, k) => drawing.append(drawAxis(axis, at(k), top, bottom, k, at(1) - at(0))));
  const better = told.toSorted((a, b) => (metric.lower ? mean(b) - mean(a) : mean(a) - mean(b))); // the best on top
  for (const [place, p] of better.entries()) {
    const spots = axes.map((axis, k) => [at(k), down(axis.share(k === axes.length - 1 ? mean(p) : p.get(axis.name)))]);
    const line = inked(svg("path", { class: isBroken(p) ? "strand dashed" : "strand", d: `M${spots.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}` }), "stroke", shareOf(mean(p), range));
    lines.append(line);
    const says = about(model, p, metric, knobs);
    const button = spot(`${spec.key}/${p.place}/${place}`, says, ...spots.at(-1));
    button.strand = line;
    button.spots = spots.map(([x, y]) => [(x / WIDTH) * 100, (y / HEIGHT) * 100]).reverse(); // of equals the metric's own axis
    buttons.append(button);
  }
  const rows = better.toReversed().map((p) => [spread(mean(p), p.get(`${metric.name}_std`)), ...ordered.map((name) => show(name, p.get(name))), String(p.get("n"))]);
  const fill = () => table(`${family.title}: ${metric.label}`, [metric.label, ...ordered.map(model.label), "seeds"], rows);
  return framed(spec, rampLegend(metric.label, range, true), drawing, buttons, fill);
}

// Where a value stands on its axis, from 0 to 1, and which values are written beside it.
function axisOf(label, name, values, smooth = false) {
  const known = sorted(new Set(values.filter((v) => v !== null && v !== undefined && !Number.isNaN(v))));
  const missing = known.length < new Set(values).size;
  const floor = missing ? 0.1 : 0;
  const place = (share) => floor + share * (1 - floor);
  const some = known.filter((v) => typeof v === "number" && Number.isFinite(v));
  if (some.length < known.filter((v) => v !== Infinity).length || some.length < 2) {
    const rank = (v) => (known.length > 1 ? known.indexOf(v) / (known.length - 1) : 0.5);
    return { label, name, share: (v) => (known.includes(v) ? place(rank(v)) : 0), ticks: [...known.map((v) => [v, place(rank(v))]), ...(missing ? [["–", 0]] : [])] };
  }
  const ceiling = known.includes(Infinity) ? 0.88 : 1;
  const [low, high] = [some[0], some.at(-1)];
  const onto = scale(low, high, 0, ceiling, !smooth && wide(some));
  const share = (v) => (!isNumber(v) ? 0 : v === Infinity ? 1 : place(onto(v)));
  const told = smooth || known.length > 9 ? niceTicks(low, high).filter((v) => share(v) > share(low) + 0.06 && share(v) < share(high) - 0.06) : some;
  const written = [...new Set([low, ...told, high])];
  return { label, name, share, ticks: [...written, ...(ceiling < 1 ? [Infinity] : [])].map((v) => [v, share(v)]).concat(missing ? [["–", 0]] : []) };
}

function drawAxis(axis, x, top, bottom, k, room) {
  const group = svg("g", { class: "axes" }, svg("line", { class: "axis", x1: x, x2: x, y1: top, y2: bottom }));
  let last = Infinity;
  for (const [value, share] of axis.ticks.toSorted((a, b) => a[1] - b[1])) {
    const y = bottom - share * (bottom - top);
    group.append(svg("line", { class: "axis", x1: x - 3, x2: x + 3, y1: y, y2: y }));
    if (last - y < 13) continue; // told by its point, and by the table
    const words = typeof value === "number" ? small(value, 3) : shortened(String(value), Math.max(3, Math.floor((room - 12) / 7)));
    group.append(svg("text", { class: "haloed", x: x + 6, y: y + 4 }, words));
    last = y;
  }
  const rows = NARROW.matches ? 3 : 2; // names of neighbours stand at different heights
  const name = svg("text", { class: "label", x: Math.max(x - 26, 2), y: top - 12 - (rows - 1 - (k % rows)) * 15 }, axis.label);
  if (x > WIDTH - 60) for (const [key, value] of [["x", WIDTH - 2], ["text-anchor", "end"]]) name.setAttribute(key, value);
  group.append(name);
  return group;
}
