// The Pareto front: the metric against what it costs. On the front is what no other point beats in both.

const COSTS = ["wall_seconds", "epsilon", "compile_seconds", "epoch_seconds", "peak_memory_mib", "uplink_bytes", "encrypt_seconds", "add_seconds", "decrypt_seconds", "trained_parameters", "num_steps"];

function costOf(p, name) {
  const mean = p.get(`${name}_mean`) ?? p.get(name);
  const std = p.get(`${name}_std`);
  return { mean, std: isNumber(std) ? std : 0 };
}

// Budgets from which on they were searched, and not listed, if nearly every point has its own.
const SEARCHED = 12;

// Points of a search: no two share a line, and ε is what accuracy is paid with.
function isSearched(points) {
  const budgets = new Set(points.map((p) => p.get("epsilon")).filter((v) => isNumber(v) && Number.isFinite(v)));
  return budgets.size >= SEARCHED && 1.25 * budgets.size > points.length;
}

const costsIn = (points) => (isSearched(points) ? ["epsilon", ...COSTS.filter((name) => name !== "epsilon")] : COSTS);

const costsOf = (points) => costsIn(points).filter((name) => new Set(points.map((p) => costOf(p, name).mean).filter((v) => isNumber(v) && Number.isFinite(v))).size > 1);

// Costs that overlap within one standard deviation over seeds are one cost: which is less, timing noise would decide.
const clearlyLess = (a, b) => a.mean + a.std < b.mean - b.std;

function dominates(a, b, lower) {
  const [more, less] = lower ? [a.y < b.y, a.y > b.y] : [a.y > b.y, a.y < b.y];
  if (less || clearlyLess(b.cost, a.cost)) return false;
  return more || clearlyLess(a.cost, b.cost);
}

function undominated(points, lower) {
  const fit = points.filter((p) => !p.broken);
  return new Set(fit.filter((p) => !fit.some((rival) => rival !== p && dominates(rival, p, lower))));
}

function pareto(model, family, metric) {
  const { told, mean, beside } = ranked(model, family, metric);
  if (!told.length) return null;
  const names = costsOf(told);
  const cost = names.includes(view.cost) ? view.cost : names[0];
  if (!cost) return instead(family, "A Pareto front needs a cost in which the points differ, such as wall_seconds.");
  const knobs = settings(model, told);
  const std = (p) => p.get(`${metric.name}_std`);
  const points = told.filter((p) => isNumber(costOf(p, cost).mean) && Number.isFinite(costOf(p, cost).mean)).map((p) => {
    const price = costOf(p, cost);
    const [low, high] = isNumber(std(p)) ? [mean(p) - std(p), mean(p) + std(p)] : [null, null];
    return { of: p, cost: price, x: price.mean, y: mean(p), low, high, left: price.std ? price.mean - price.std : null, right: price.mean + price.std, ...about(model, p, metric, knobs) };
  }).sort((a, b) => a.x - b.x || a.y - b.y);
  const front = undominated(points, metric.lower);
  for (const p of points) {
    const place = front.has(p) ? "on the front" : "beaten by another";
    const [label, tip, price] = [p.label, p.tip, `${model.label(cost)} ${spread(p.cost.mean, p.cost.std || null)}`];
    Object.assign(p, { label: `${label}, ${price}, ${place}`, tip: () => [el("p", {}, `${place}; ${price}`), ...tip()] });
  }
  const [on, off] = [points.filter((p) => front.has(p)), points.filter((p) => !front.has(p))];
  const unit = model.columns.find((c) => c.name === cost)?.unit;
  const label = `${model.label(cost)}${unit && !model.label(cost).includes(unit) ? ` (${unit})` : ""}`;
  const budgets = new Set(told.map((p) => p.get("epsilon"))).size;
  const mixed = cost !== "epsilon" && budgets > 1 ? " Points of every ε are in it: filter by one, such as epsilon=2, to compare at one." : "";
  const spec = {
    key: `pareto-${family.place}`,
    title: family.title,
    note: `${family.notes}; bars are one standard deviation over seeds. On the front is what no point beats in both; costs that overlap within one standard deviation count as equal.${mixed}${beside}${points.some((p) => p.broken) ? " ×: runs of the point diverged." : ""}${saidOf(family, metric)}`,
    description: `${metric.label} against ${model.label(cost)}: ${on.length} of ${plural(points.length, "point")} on the front${on.length ? `, from ${on[0].label} to ${on.at(-1).label}` : ""}.`,
    x: { label: `${label} (less is better)`, log: wide(points.map((p) => p.x)) },
    y: { label: metric.label, metric },
    series: [{ name: "on the front", rank: 0, points: on, errors: true }, { name: "beaten by another", rank: 1, points: off, bare: true, errors: true }],
    rules: levelsOf(family, metric),
    legendTitle: "Points",
  };
  for (const p of on) p.big = true;
  const row = (p) => [front.has(p) ? "★" : "", spread(p.cost.mean, p.cost.std || null), spread(p.y, std(p.of)), ...["epsilon", ...knobs.filter((k) => k !== "epsilon" && k !== cost)].map((name) => show(name, p.of.get(name))), String(p.of.get("n"))];
  spec.table = () => table(`${family.title}: ${metric.label} against ${model.label(cost)}`, ["front", label, metric.label, "ε", ...knobs.filter((k) => k !== "epsilon" && k !== cost).map(model.label), "seeds"], points.map(row));
  return chart(spec);
}
