// The points, family by family: which of them pass the filter, what they differ in, and what each says of itself.

function families(model) {
  const all = model.families.map((family, i) => ({ ...family, place: i, all: [] }));
  for (let i = 0; i < model.pointCount; i++) all[model.point.family(i)]?.all.push(pointAt(model, i));
  const found = view.overlay ? overlaid(model, all) : all;
  return found.map((family) => ({ ...family, points: filtered(model, family.all) })).filter((family) => family.points.length);
}

// Families that differ in the model alone as one, where the first of them stood.
function overlaid(model, all) {
  const task = (i) => model.tasks.find((each) => each.families.includes(i));
  return all.flatMap((family, i) => {
    const of = task(i);
    if (!of) return [family];
    return of.families[0] === i ? [{ ...family, title: of.title, notes: of.notes, said: of.said, levels: of.levels, all: of.families.flatMap((k) => all[k].all) }] : [];
  });
}

// Points with a run that passes the filter, and what they are compared with: of the points without privacy those that pass
// what privacy does not decide, or all where none does.
function filtered(model, points) {
  if (!view.filter.trim()) return points;
  const { wanted, beside } = parsed(model, view.filter);
  const passes = new Set(points.filter((p) => p.runs.some(wanted)));
  if (!passes.size) return [];
  const without = points.filter((p) => p.get("epsilon") === Infinity);
  const close = without.filter((p) => p.runs.some(beside));
  const compared = new Set(close.length ? close : without);
  return points.filter((p) => (p.get("epsilon") === Infinity ? compared.has(p) : passes.has(p)));
}

function isPrivate(p) {
  return isNumber(p.get("epsilon")) && Number.isFinite(p.get("epsilon")) && p.get("epsilon") > 0;
}

function pointAt(model, i) {
  return { place: i, runs: model.pointRuns[i], get: (name) => numeric(model.point[name]?.(i) ?? null) };
}

// Columns in which these points differ, those first that a line is best told apart by.
function varying(model, points) {
  return model.knobs.filter((name) => new Set(points.map((p) => p.get(name))).size > 1);
}

function sorted(values) {
  return [...values].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
}

// What a point says on hover and on focus, and what it opens.
function about(model, point, metric, knobs) {
  const epsilon = smallUp(point.get("epsilon"));
  const value = spread(point.get(`${metric.name}_mean`), point.get(`${metric.name}_std`));
  const seeds = plural(point.get("n"), "seed");
  const settings = knobs.filter((name) => name !== "epsilon" && point.get(name) !== null).map((name) => `${model.label(name)} ${show(name, point.get(name))}`);
  const command = point.runs.length ? model.run.command(point.runs[0]) : null;
  const open = point.runs.length ? () => openRun(model.run.key(point.runs[0])) : null;
  const facts = [
    [metric.label, `${value} (${seeds})`],
    ["config", settings.join(", ") || point.get("overrides") || "–"],
    ["ε asked", epsilon],
    ["ε PLD, RDP", `${smallUp(point.get("epsilon_pld"))}, ${smallUp(point.get("epsilon_rdp"))}`],
    ["δ", small(point.get("delta"))],
    ["unit", point.get("unit") || "–"],
    ["claim", point.get("claim")],
    ["again", command],
  ];
  const diverged = point.get("diverged") > 0;
  if (diverged) facts.splice(1, 0, ["diverged", `${point.get("diverged")} of ${plural(point.get("n"), "run")}: no metric of them is a result`]);
  return {
    broken: diverged,
    label: `ε ${epsilon}, ${metric.label} ${value}, ${settings.join(", ")}${diverged ? ", diverged" : ""}`,
    tip: () => [tipList(facts), open ? el("p", { class: "quiet" }, "Click, or Enter, opens the run.") : null].filter(Boolean),
    open,
  };
}

function tipList(facts) {
  return el("dl", {}, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", { class: name === "again" ? "mono" : null }, String(value))]));
}

const isBroken = (p) => Number(p.get("diverged") > 0); // no metric of such runs is a result: the best only where all are

// The family's points that have the metric, those with privacy where there are any; their mean, the best of some, and a
// sentence on what they are compared with.
function ranked(model, family, metric) {
  const points = family.points || family;
  const mean = (p) => p.get(`${metric.name}_mean`);
  const having = points.filter((p) => Number.isFinite(mean(p)));
  const told = having.some(isPrivate) ? having.filter(isPrivate) : having;
  const better = (a, b) => isBroken(a) - isBroken(b) || (metric.lower ? mean(a) - mean(b) : mean(b) - mean(a));
  const reference = having.filter((p) => p.get("epsilon") === Infinity).sort(better)[0];
  const beside = reference && told.length < having.length ? ` Non-private: ${spread(mean(reference), reference.get(`${metric.name}_std`))}.` : "";
  return { told, mean, best: (some) => some.toSorted(better)[0], beside };
}

// What these points differ in, ε with the rest.
const settings = (model, points) => [...(new Set(points.map((p) => p.get("epsilon"))).size > 1 ? ["epsilon"] : []), ...varying(model, points)];

// Those of them that are numbers, and at least two.
function inNumbers(model, points) {
  const isOne = (v) => v === null || isNumber(v);
  return settings(model, points).filter((name) => points.every((p) => isOne(p.get(name))) && new Set(points.map((p) => p.get(name)).filter(isNumber)).size > 1);
}

// Whether values reach so far that a logarithm shows them better.
function wide(values) {
  const some = values.filter((v) => isNumber(v) && Number.isFinite(v));
  return Math.min(...some) > 0 && Math.max(...some) / Math.min(...some) > 8;
}

// What the metric of a family is read against, in sentences, and at which levels.
const saidOf = (family, metric) => (family.said?.[metric.name] || []).map((sentence) => ` ${sentence}`).join("");
const levelsOf = (family, metric) => (family.levels?.[metric.name] || []).map((y) => ({ y, level: true, label: `commonest class: ${y.toFixed(3)}` }));

const instead = (family, sentence) => el("figure", { class: "chart" }, el("figcaption", {}, el("h3", {}, family.title)), el("p", { class: "quiet" }, sentence));
