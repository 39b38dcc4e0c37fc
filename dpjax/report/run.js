// The page of one run: its claim, its curves over the steps, its norms, what it spent, and how to run it again.

const openRun = (key) => (location.hash = `run-${key}`);

function drawRun(model, i) {
  measure();
  const run = (name) => numeric(model.run[name]?.(i) ?? null);
  const title = model.runTitle(i);
  const heading = el("h2", { id: "run-title", tabindex: "-1" }, title);
  const parts = [
    el("p", { class: "bar" }, el("a", { href: `#${addressOf(model)}`, "data-key": "run/back" }, "← All points and runs"), ...siblings(model, i)),
    heading,
    el("p", { class: "claim" }, run("claim")),
    model.run.command(i) ? commandLine(model.run.command(i)) : null,
    el("div", { class: "charts" }, ...runCharts(model, i, run).filter(Boolean)),
    el("h3", {}, "Results and settings"),
    el("div", { class: "scroll" }, factTable(model, i)),
    Object.keys(model.config).length ? folded("run/config", "The whole config", () => el("div", { class: "scroll" }, configTable(model, i))) : null,
  ];
  byId("run").replaceChildren(...parts.filter(Boolean));
}

function siblings(model, i) {
  const others = model.pointRuns.find((runs) => runs.includes(i)) || [];
  if (others.length < 2) return [];
  const links = others.map((j) => (j === i ? el("strong", {}, model.seedName(j)) : el("a", { href: `#run-${model.run.key(j)}` }, model.seedName(j))));
  return [el("span", {}, "Seeds of this point: ", ...links.flatMap((link) => [link, " "]))];
}

function over(steps, values, name, words, rank) {
  const ys = numbers(values);
  const points = steps.slice(0, ys.length).map((x, k) => {
    const label = `step ${small(x)}: ${name} ${small(ys[k])}`;
    return { x, y: ys[k], label, tip: () => [el("p", {}, label)] };
  });
  return { name: words, rank, points: points.filter((p) => isNumber(p.y) && Number.isFinite(p.y)) };
}

function runCharts(model, i, run) {
  const steps = numbers(run("eval_steps"));
  const word = run("clients_per_round") === null ? "step" : "round";
  const line = (name, words, rank) => over(steps, run(name), model.label(name), words, rank);
  const draw = (key, title, y, series, more = {}) => {
    const full = series.filter((s) => s.points.length);
    if (!full.length && !more.marks) return null;
    const ends = full.map((s) => `${s.name} from ${small(s.points[0].y)} to ${small(s.points.at(-1).y)}`);
    return chart({ key: `run-${key}`, title, description: `${title} over the ${word}s: ${ends.join("; ")}.`, x: { label: word }, y, series: full, ...more });
  };
  const bound = run("clip_norm");
  return [
    draw("loss", "Loss", { label: "loss (nats)" }, [line("eval_test_loss", "test", 0), line("train_loss_curve", "training, not private", 1)]),
    draw("accuracy", "Accuracy", { label: "test accuracy" }, [line("eval_test_accuracy", "test", 0)]),
    draw("norms", "Norms before clipping", { label: "L2 norm", log: true }, [line("eval_mean_norm", "mean norm of contributions", 0), line("eval_clip_norm", "clip norm", 1)], { note: "Mean over the steps since the evaluation before. Not private." }),
    draw("clipped", "Share that was clipped", { label: "fraction", zero: true }, [line("eval_clipped_share", "clipped", 0)], { note: "Not private." }),
    draw("signal", "Signal to noise", { label: "‖clipped sum‖ / (stddev · √d)", log: true }, [line("eval_signal_to_noise", "signal to noise", 0)], { note: "Not private." }),
    spending(steps, run, draw),
    histogram(model, run, bound),
  ];
}

function spending(steps, run, draw) {
  const rdp = over(steps, run("epsilon_over_steps"), "ε by RDP", "RDP, up to here", 0);
  const pld = run("epsilon_pld");
  const last = run("num_steps");
  const marks = [];
  if (isNumber(pld) && Number.isFinite(pld)) {
    const label = `whole run, ${small(last)}: ε ${smallUp(pld)} by PLD`;
    marks.push({ name: "PLD, whole run", rank: 1, points: [{ x: last, y: pld, big: true, label, tip: () => [el("p", {}, label)] }] });
  }
  if (!rdp.points.length && !marks.length) return null;
  const note = rdp.points.length ? `At δ=${small(run("delta"))}; what the steps so far have spent.` : "Only the whole run's ε is known: its noise is no composition of steps that this page can follow.";
  return draw("spent", "ε spent", { label: "ε", zero: true }, [rdp, ...marks], { note });
}

// Norms of contributions, in clip norms, early and late.
function histogram(model, run, bound) {
  const told = [["norm_counts_first", "first tenth"], ["norm_counts_last", "last tenth"]];
  const series = told.flatMap(([name, words], rank) => {
    const counts = numbers(run(name));
    const sum = counts.reduce((a, b) => a + b, 0);
    if (!sum) return [];
    const points = counts.map((count, k) => {
      const label = `${words}: ${small(count)} of ${small(sum)} ${binName(model.edges, k)}`;
      return { x: k / 2 - 8.25, y: count / sum, label, tip: () => [el("p", {}, label)] };
    });
    return [{ name: words, rank, bars: true, points }];
  });
  if (!series.length) return null;
  // Empty bins at both ends tell nothing.
  const filled = series.flatMap((s) => s.points.filter((p) => p.y > 0).map((p) => p.x));
  const [low, high] = [Math.min(...filled, -0.75), Math.max(...filled, 0.75)];
  for (const s of series) s.points = s.points.filter((p) => p.x >= low - 0.5 && p.x <= high + 0.5);
  const unit = isNumber(bound) && Number.isFinite(bound) ? "clip norms" : "1, for want of a clip norm";
  return chart({
    key: "run-histogram",
    title: "Norms of contributions, early and late",
    note: "Of the first and the last tenth of the steps; right of 0 is what gets clipped. Not private.",
    description: `Share of contributions by norm, in half-octaves of ${unit}. ${series.map((s) => `${s.name}: most ${mostCommon(s)}`).join("; ")}.`,
    x: { label: `log₂ of the norm in ${unit}` },
    y: { label: "share of contributions", zero: true },
    series,
    table: () => plainTable({ title: "Norms of contributions", x: { label: "log₂ of the norm, middle of the bin" } }, series),
  });
}

const mostCommon = (s) => `at 2^${small(s.points.reduce((a, b) => (b.y > a.y ? b : a)).x)}`;

function binName(edges, k) {
  if (k === 0) return `below ${small(edges[0])}`;
  return k === edges.length ? `above ${small(edges.at(-1))}` : `between ${small(edges[k - 1])} and ${small(edges[k])}`;
}

function factTable(model, i) {
  const rows = model.columns.filter((column) => model.run[column.name](i) !== null).map((column) => [column.label, show(column.name, model.run[column.name](i)), column.unit, column.meaning]);
  return table("Columns of this run", ["column", "value", "unit", "meaning"], rows, { class: "facts" });
}

function configTable(model, i) {
  const rows = Object.entries(model.config).map(([name, read]) => [name, String(read(i) ?? "null")]);
  return table("Config of this run", ["field", "value"], rows, { class: "facts" });
}
