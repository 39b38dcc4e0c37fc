// Two runs, or two points, beside each other: what differs in their settings, columns and curves.

const pickCell = (rows, i, key) =>
  el("td", { class: "picking" }, el("label", {}, el("input", { type: "checkbox", class: "pick", checked: view.picked[view.show].includes(key), "data-key": `pick/${key}`, "data-pick": key, "aria-label": `Compare ${rows.noun} ${i + 1}` })));

// Of three, the one that was picked first drops out.
function picked(model, box) {
  const now = view.picked[view.show].filter((key) => key !== box.dataset.pick);
  view.picked[view.show] = box.checked ? [...now, box.dataset.pick].slice(-2) : now;
  for (const other of byId("table").querySelectorAll(".pick")) other.checked = view.picked[view.show].includes(other.dataset.pick);
  drawPicked();
}

function drawPicked() {
  const keys = view.picked[view.show];
  byId("compare").disabled = keys.length !== 2;
  byId("compare").textContent = keys.length === 2 ? "Compare the two" : `Compare: tick ${keys.length ? "one more" : "two"}`;
}

// #compare-runs-KEY,KEY or #compare-points-KEY,KEY, a point by the key of its first run.
const compareAddress = () => `#compare-${view.show}-${listed(view.picked[view.show])}`;

function comparedIn(model, hash) {
  const found = hash.match(/^#compare-(runs|points)-(.+),(.+)$/);
  const places = found && found.slice(2).map((key) => model.keys.get(unspelt(key)));
  if (!found || places.some((i) => i === undefined)) return null;
  if (found[1] === "runs") return { kind: "runs", sides: places.map((i) => ({ i, runs: [i], get: (name) => model.run[name]?.(i) ?? null })) };
  const points = places.map((i) => model.pointRuns.findIndex((runs) => runs.includes(i)));
  if (points.includes(-1)) return null;
  return { kind: "points", sides: points.map((p) => ({ i: model.pointRuns[p][0], point: p, runs: model.pointRuns[p] })) };
}

function drawComparison(model, { kind, sides }) {
  measure();
  const titles = sides.map((side) => (kind === "runs" ? model.runTitle(side.i) : `${model.runTitle(side.i, false)}, ${plural(side.runs.length, "seed")}`));
  const names = ["A", "B"].map((letter, k) => el("li", {}, el("strong", {}, `${letter}: `), el("a", { href: `#run-${model.run.key(sides[k].i)}` }, titles[k])));
  const columns = comparedColumns(model, kind, sides);
  const config = Object.entries(model.config).map(([name, read]) => ({ label: name, words: sides.map((side) => String(read(side.i) ?? "–")) }));
  byId("run").replaceChildren(
    el("p", { class: "bar" }, el("a", { href: `#${addressOf(model)}`, "data-key": "run/back" }, "← All points and runs")),
    el("h2", { id: "run-title", tabindex: "-1" }, kind === "runs" ? "Two runs compared" : "Two points compared"),
    el("ul", { class: "sides" }, ...names),
    el("div", { class: "charts" }, ...comparedCharts(model, sides).filter(Boolean)),
    ...sideBySide("Results and settings", columns, "compare/columns"),
    ...(config.length ? sideBySide(kind === "runs" ? "Config" : "Config of the first run of each", config, "compare/config") : []),
  );
}

function comparedColumns(model, kind, sides) {
  const rows = kind === "runs" ? runRows(model) : pointRows(model);
  const at = (side) => (kind === "runs" ? side.i : side.point);
  const isTold = ({ name, of }) => !name.endsWith(".band") && !(name.endsWith(".ci") && of !== metric.name); // the charts show the bands
  return rows.columns.filter((column) => isTold(column) && sides.some((side) => column.value(at(side)) !== null)).map((column) => {
    const values = sides.map((side) => column.value(at(side)));
    const apart = column.numeric && values.every((v) => isNumber(v) && Number.isFinite(v)) && !column.name.includes(".") ? small(values[1] - values[0], 3) : "";
    return { label: column.label, words: sides.map((side) => column.words(at(side))), apart, differs: values[0] !== values[1] };
  });
}

// Fields that differ, marked by a sign; those that do not, folded.
function sideBySide(title, fields, key) {
  const differs = (field) => field.differs ?? field.words[0] !== field.words[1];
  const [other, same] = [fields.filter(differs), fields.filter((field) => !differs(field))];
  const hasApart = fields.some((field) => field.apart);
  const row = (field) => [field.label, differs(field) ? el("strong", { title: "differs" }, "≠", el("span", { class: "hidden" }, " differs")) : "=", ...field.words, ...(hasApart ? [field.apart || ""] : [])];
  const head = ["field", "", "A", "B", ...(hasApart ? ["B − A"] : [])];
  const draw = (caption, some) => el("div", { class: "scroll" }, table(caption, head, some.map(row), { class: "facts sided" }));
  return [
    el("h3", {}, title),
    other.length ? draw(`${title}: what differs`, other) : el("p", { class: "quiet" }, "Nothing differs."),
    same.length ? folded(key, `${plural(same.length, "field")} equal in both`, () => draw(`${title}: what is equal`, same)) : null,
  ].filter(Boolean);
}

// Curves of both sides in one chart; of a point, mean and band over its seeds.
function comparedCharts(model, sides) {
  const line = (side, name, words, rank) => {
    const runs = side.runs.map((i) => ({ steps: numbers(model.run.eval_steps?.(i)), values: numbers(model.run[name]?.(i)) })).filter((run) => run.values.length);
    const alike = runs.filter((run) => String(run.steps) === String(runs[0].steps));
    const points = (alike[0]?.steps || []).map((x, k) => {
      const here = alike.map((run) => run.values[k]).filter((v) => isNumber(v) && Number.isFinite(v));
      const y = here.length === alike.length ? here.reduce((a, b) => a + b, 0) / here.length : null;
      const std = here.length > 1 && y !== null ? Math.sqrt(here.reduce((a, b) => a + (b - y) ** 2, 0) / (here.length - 1)) : null;
      const label = `${words}, step ${small(x)}: ${small(y)}${std === null ? "" : ` ± ${small(std, 2)}`}`;
      return { x, y, low: std === null ? null : y - std, high: std === null ? null : y + std, label, tip: () => [el("p", {}, label)] };
    });
    return { name: words, rank, points: points.filter((p) => p.y !== null) };
  };
  const word = [...new Set(sides.map((side) => (model.run.clients_per_round?.(side.i) == null ? "step" : "round")))].sort().reverse().join(" or ");
  const draw = (key, title, label, names) => {
    const series = names.flatMap(([name, words], j) => sides.map((side, k) => line(side, name, `${"AB"[k]}${words}`, 2 * j + k))).filter((s) => s.points.length);
    if (!series.length) return null;
    const ends = series.map((s) => `${s.name} from ${small(s.points[0].y)} to ${small(s.points.at(-1).y)}`);
    const banded = sides.some((side) => side.runs.length > 1) ? "Mean and band of one standard deviation over seeds. " : "";
    const note = names.length > 1 ? `${banded}Curves of training are not private.` : banded;
    return chart({ key: `compare-${key}`, title, note, description: `${title} over the ${word}s: ${ends.join("; ")}.`, x: { label: word }, y: { label }, series });
  };
  return [draw("loss", "Loss", "loss (nats)", [["eval_test_loss", ", test"], ["train_loss_curve", ", training"]]), draw("accuracy", "Accuracy", "test accuracy", [["eval_test_accuracy", ""]])];
}
