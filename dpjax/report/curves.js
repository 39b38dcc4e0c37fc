// The privacy-utility curves: a chart for each family of points that may be compared.

const KNOB_CHOSEN = {}; // family title → the column that its lines are told apart by, as the reader chose

function families(model) {
  const all = model.families.map((family, i) => ({ ...family, place: i, all: [] }));
  for (let i = 0; i < model.pointCount; i++) all[model.point.family(i)]?.all.push(pointAt(model, i));
  return all.map((family) => ({ ...family, points: filtered(model, family.all) })).filter((family) => family.points.length);
}

// Points with a run that passes the filter; what they are compared with stays, the line without privacy.
function filtered(model, points) {
  if (!view.filter.trim()) return points;
  const wanted = predicate(model, view.filter);
  const passes = new Set(points.filter((p) => p.runs.some(wanted)));
  return points.filter((p) => passes.has(p) || (passes.size && p.get("epsilon") === Infinity));
}

function isPrivate(p) {
  return isNumber(p.get("epsilon")) && Number.isFinite(p.get("epsilon")) && p.get("epsilon") > 0;
}

function pointAt(model, i) {
  return { place: i, runs: model.pointRuns[i], get: (name) => numeric(model.point[name]?.(i) ?? null) };
}

function drawCurves(model, metric) {
  const left = families(model);
  const found = left.map((family) => curve(model, family, metric)).filter(Boolean);
  const why = !view.filter.trim() ? "No point has this metric yet." : left.length ? "No point that passes the filter has this metric." : "No point passes the filter.";
  const nothing = el("p", { class: "quiet" }, why);
  byId("curves").replaceChildren(...(found.length ? found : [nothing]));
}

function curve(model, family, metric) {
  const mean = (p) => p.get(`${metric.name}_mean`);
  const std = (p) => p.get(`${metric.name}_std`);
  const told = family.points.filter((p) => isNumber(mean(p)));
  const priv = told.filter(isPrivate);
  const rest = told.filter((p) => p.get("epsilon") === Infinity);
  if (!told.length) return null;
  const everyone = family.all.filter((p) => isNumber(mean(p)) && isPrivate(p));
  const narrowed = varying(model, priv);
  const knobs = narrowed.length || !priv.length ? narrowed : varying(model, everyone);
  const knob = knobs.includes(KNOB_CHOSEN[family.title]) ? KNOB_CHOSEN[family.title] : knobs[0];
  const broken = (p) => Number(p.get("diverged") > 0); // no metric of such runs is a result: the best only where all are
  const better = (a, b) => broken(a) - broken(b) || (metric.lower ? mean(a) - mean(b) : mean(b) - mean(a));
  const values = knob ? sorted(new Set(priv.map((p) => p.get(knob)))) : [null];
  const ranks = knob ? sorted(new Set(everyone.map((p) => p.get(knob)))) : [null]; // a line keeps its colour as the filter narrows
  const key = `curve-${family.place}`;
  const hidden = new Set();
  const series = values.map((value) => {
    const byEpsilon = new Map();
    for (const p of priv) if (!knob || p.get(knob) === value) byEpsilon.set(p.get("epsilon"), [...(byEpsilon.get(p.get("epsilon")) || []), p]);
    const points = [...byEpsilon].sort((a, b) => a[0] - b[0]).map(([epsilon, candidates]) => {
      const best = candidates.toSorted(better)[0];
      for (const other of varying(model, candidates)) hidden.add(other);
      const low = isNumber(std(best)) ? mean(best) - std(best) : null;
      return { x: epsilon, y: mean(best), low, high: low === null ? null : mean(best) + std(best), ...about(model, best, metric, knobs) };
    });
    return { name: knob ? show(knob, value) : "private", rank: ranks.indexOf(value), points };
  });
  const reference = rest.toSorted(better)[0];
  const rule = reference && { y: mean(reference), low: isNumber(std(reference)) ? mean(reference) - std(reference) : null, high: mean(reference) + (std(reference) || 0), label: `non-private: ${spread(mean(reference), std(reference))}` };
  const ticks = sorted(new Set(priv.map((p) => p.get("epsilon"))));
  const label = (name) => model.label(name);
  const over = hidden.size ? ` Each point is the best over ${[...hidden].map(label).join(", ")}.` : "";
  const seeds = Math.max(...told.map((p) => p.get("n")));
  const figure = chart({
    key,
    title: family.title,
    note: `${family.notes}; ${seeds > 1 ? `mean and band of one standard deviation over up to ${seeds} seeds` : "one seed"}.${over}${told.some(broken) ? " ×: runs of the point diverged." : ""}`,
    description: describeCurve(metric, series, rule),
    x: { label: "privacy budget ε (smaller is more private)", log: true, ticks },
    y: { label: metric.label },
    series,
    rules: rule ? [rule] : [],
    legendTitle: knob ? label(knob) : "",
    table: () => curveTable(model, family, metric, told, knobs),
  });
  if (knobs.length > 1) figure.querySelector("figcaption").append(knobChoice(model, family, knobs, knob, metric, key));
  return figure;
}

// Columns in which these points differ, those first that a line is best told apart by.
function varying(model, points) {
  return model.knobs.filter((name) => new Set(points.map((p) => p.get(name))).size > 1);
}

function sorted(values) {
  return [...values].sort((a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))));
}

function knobChoice(model, family, knobs, knob, metric, key) {
  const select = el("select", { "data-key": `${key}/knob` }, ...knobs.map((name) => el("option", { value: name, selected: name === knob }, model.label(name))));
  select.addEventListener("change", () => {
    KNOB_CHOSEN[family.title] = select.value;
    keepingPlace(() => drawCurves(model, metric));
  });
  return el("label", {}, "Lines by ", select);
}

function describeCurve(metric, series, rule) {
  const lines = series.filter((line) => line.points.length).map((line) => {
    const [first, last] = [line.points[0], line.points.at(-1)];
    return `${line.name}: ${first.y.toFixed(3)} at ε ${small(first.x)}${last === first ? "" : ` to ${last.y.toFixed(3)} at ε ${small(last.x)}`}`;
  });
  return `${metric.label} against ε. ${lines.join("; ")}. ${rule ? `${rule.label}.` : "No run without privacy."}`;
}

// What a point says on hover and on focus, and what it opens.
function about(model, point, metric, knobs) {
  const epsilon = smallUp(point.get("epsilon"));
  const value = spread(point.get(`${metric.name}_mean`), point.get(`${metric.name}_std`));
  const seeds = plural(point.get("n"), "seed");
  const settings = knobs.filter((name) => point.get(name) !== null).map((name) => `${model.label(name)} ${show(name, point.get(name))}`);
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

function curveTable(model, family, metric, told, knobs) {
  const mean = (p) => p.get(`${metric.name}_mean`);
  const best = new Map();
  for (const p of told) {
    const rival = best.get(p.get("epsilon"));
    if (p.get("diverged") > 0) continue;
    if (!rival || (metric.lower ? mean(p) < mean(rival) : mean(p) > mean(rival))) best.set(p.get("epsilon"), p);
  }
  const rows = told.toSorted((a, b) => a.get("epsilon") - b.get("epsilon")).map((p) => {
    const link = p.runs.length ? el("a", { href: `#run-${model.run.key(p.runs[0])}` }, smallUp(p.get("epsilon"))) : smallUp(p.get("epsilon"));
    return [link, ...knobs.map((name) => show(name, p.get(name))), spread(mean(p), p.get(`${metric.name}_std`)) + (best.get(p.get("epsilon")) === p ? " ★" : ""), String(p.get("n")), p.get("claim")];
  });
  return table(`${family.title}: ${metric.label}`, ["ε", ...knobs.map(model.label), `${metric.label} (★ best of its ε)`, "seeds", "claim"], rows);
}
