// What a table has a row of: points, means over their seeds, or runs, one for each point and seed.

// Two-sided 97.5 % quantiles of Student's t for 1 to 10 degrees of freedom.
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

function student(freedom) {
  if (freedom <= 10) return STUDENT[freedom - 1];
  const z = 1.959964; // beyond, its expansion about the normal's is right to a thousandth
  const terms = [z, (z ** 3 + z) / 4, (5 * z ** 5 + 16 * z ** 3 + 3 * z) / 96, (3 * z ** 7 + 19 * z ** 5 + 17 * z ** 3 - 15 * z) / 384];
  return terms.reduce((sum, term, k) => sum + term / freedom ** k, 0);
}

// Half the width of the 95 % confidence interval of a mean over seeds.
const halfWidth = (std, n) => (isNumber(std) && n > 1 ? (student(n - 1) * std) / Math.sqrt(n) : null);

const SHARED = ["experiment", "dataset", "split", "model", "partition", "adjacency", "sampling"]; // by the runs of a point

// {noun, count, columns: [{..., value(i), words(i)}], key(i), href(i), name(i), wanted(test)}
function rowsOf(model) {
  return view.show === "runs" ? runRows(model) : pointRows(model);
}

function runRows(model) {
  const columns = model.columns.map((column) => {
    const read = model.run[column.name];
    return { ...column, value: (i) => numeric(read(i)), words: (i) => show(column.name, read(i)) };
  });
  const key = (i) => model.run.key(i);
  return { noun: "run", count: model.count, columns, key, dataKey: (i) => `run/${key(i)}`, href: (i) => `#run-${key(i)}`, name: (i) => `Run ${i + 1}, ${model.run.overrides?.(i) || key(i)}`, passes: (test) => test };
}

function pointRows(model) {
  const columns = model.columns.flatMap((column) => pointColumns(model, column));
  const n = (i) => model.point.n(i);
  if (model.pointCount) columns.splice(place(columns, metric.name), 0, { name: "n", label: "seeds", meaning: "Runs that the means are of.", unit: "", numeric: true, shown: true, value: n, words: (i) => String(n(i)) });
  const first = (i) => model.pointRuns[i][0];
  const key = (i) => (first(i) === undefined ? `point-${i}` : model.run.key(first(i)));
  return {
    noun: "point", count: model.pointCount, columns, key, dataKey: (i) => `point/${key(i)}`,
    href: (i) => (first(i) === undefined ? null : `#run-${key(i)}`),
    name: (i) => `Point ${i + 1}, ${plural(n(i), "seed")}, ${model.point.overrides?.(i) || key(i)}`,
    passes: (test) => (i) => model.pointRuns[i].some(test), // as in the charts
  };
}

function place(columns, name) {
  const last = columns.findLastIndex((c) => c.of === name);
  return last < 0 ? columns.length : last + 1;
}

// Of a metric or a cost its mean, interval and band; of what a point's runs share, what they share; of the rest nothing.
function pointColumns(model, column) {
  const { name } = column;
  const mean = model.point[`${name}_mean`];
  if (mean) {
    const of = (i) => numeric(mean(i));
    const std = (i) => numeric(model.point[`${name}_std`](i));
    const ends = (i, half) => (isNumber(of(i)) && isNumber(half) ? `${spread(of(i) - half)} … ${spread(of(i) + half)}` : "–");
    const half = (i) => halfWidth(std(i), model.point.n(i));
    const isChosen = name === metric.name;
    const more = { ...column, of: name, numeric: true, shown: isChosen };
    return [
      { ...column, of: name, shown: column.shown || isChosen, numeric: true, meaning: `${column.meaning} Mean and standard deviation over seeds.`, value: of, words: (i) => spread(of(i), std(i)) },
      { ...more, name: `${name}.ci`, label: `${column.label}, 95 % CI`, meaning: "95 % confidence interval of the mean over seeds, by Student's t; sorted by its lower end.", value: (i) => (half(i) === null || !isNumber(of(i)) ? null : of(i) - half(i)), words: (i) => ends(i, half(i)) },
      { ...more, name: `${name}.band`, label: `${column.label}, band`, meaning: "Mean less and plus one standard deviation over seeds, as the charts show it; sorted by its width.", value: std, words: (i) => ends(i, std(i)) },
    ];
  }
  const read = model.point[name] || (SHARED.includes(name) && ((i) => model.run[name](model.pointRuns[i][0] ?? -1) ?? null));
  return read ? [{ ...column, value: (i) => numeric(read(i)), words: (i) => show(name, read(i)) }] : [];
}
