// The privacy-utility curves: the metric against ε, a line for each value of a chosen setting.

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
  const knob = knobs.includes(view.lines[family.title]) ? view.lines[family.title] : knobs[0];
  const better = (a, b) => isBroken(a) - isBroken(b) || (metric.lower ? mean(a) - mean(b) : mean(b) - mean(a));
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
  const whose = reference && varying(model, rest).includes("sweep") ? ` (${shortened(String(reference.get("sweep")), NARROW.matches ? 12 : 28)})` : ""; // the best of them
  const rule = reference && { y: mean(reference), low: isNumber(std(reference)) ? mean(reference) - std(reference) : null, high: mean(reference) + (std(reference) || 0), label: `non-private${whose}: ${spread(mean(reference), std(reference))}` };
  const ticks = sorted(new Set(priv.map((p) => p.get("epsilon"))));
  const label = (name) => model.label(name);
  const over = hidden.size ? ` Each point is the best over ${[...hidden].map(label).join(", ")}.` : "";
  const seeds = Math.max(...told.map((p) => p.get("n")));
  const figure = chart({
    key,
    title: family.title,
    note: `${family.notes}; ${seeds > 1 ? `mean and band of one standard deviation over up to ${seeds} seeds` : "one seed"}.${over}${told.some(isBroken) ? " ×: runs of the point diverged." : ""}${saidOf(family, metric)}`,
    description: describeCurve(metric, series, rule),
    x: { label: "privacy budget ε (smaller is more private)", log: true, ticks },
    y: { label: metric.label, metric },
    series,
    rules: [...levelsOf(family, metric), ...(rule ? [rule] : [])],
    legendTitle: knob ? label(knob) : "",
    table: () => curveTable(model, family, metric, told, knobs),
  });
  if (knobs.length > 1) figure.querySelector("figcaption").append(knobChoice(model, family, knobs, knob, metric, key));
  return figure;
}

function knobChoice(model, family, knobs, knob, metric, key) {
  const select = el("select", { "data-key": `${key}/knob` }, ...knobs.map((name) => el("option", { value: name, selected: name === knob }, model.label(name))));
  select.addEventListener("change", () => {
    view.lines[family.title] = select.value;
    redraw();
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

function curveTable(model, family, metric, told, knobs) {
  const mean = (p) => p.get(`${metric.name}_mean`);
  const best = new Map();
  for (const p of told) {
    const rival = best.get(p.get("epsilon"));
    if (p.get("diverged") > 0) continue;
    if (rival === undefined || (metric.lower ? mean(p) < rival : mean(p) > rival)) best.set(p.get("epsilon"), mean(p)); // equals are all best
  }
  const rows = told.toSorted((a, b) => a.get("epsilon") - b.get("epsilon")).map((p) => {
    const link = p.runs.length ? el("a", { href: `#run-${model.run.key(p.runs[0])}` }, smallUp(p.get("epsilon"))) : smallUp(p.get("epsilon"));
    return [link, ...knobs.map((name) => show(name, p.get(name))), spread(mean(p), p.get(`${metric.name}_std`)) + (!(p.get("diverged") > 0) && best.get(p.get("epsilon")) === mean(p) ? " ★" : ""), String(p.get("n")), p.get("claim")];
  });
  return table(`${family.title}: ${metric.label}`, ["ε", ...knobs.map(model.label), `${metric.label} (★ best of its ε)`, "seeds", "claim"], rows);
}
