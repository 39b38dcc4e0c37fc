// The table of runs: sorted, filtered, its columns chosen. A real table, whose rows are made once for each look.

const view = { sort: { name: null, down: false }, filter: "", columns: null };

function shownColumns(model) {
  const chosen = view.columns || new Set(model.columns.filter((c) => c.shown).map((c) => c.name));
  return model.columns.filter((column) => chosen.has(column.name));
}

function drawTable(model) {
  const columns = shownColumns(model);
  const head = columns.map((column) => headCell(model, column));
  const body = el("tbody");
  view.rows = [];
  for (let i = 0; i < model.count; i++) {
    const key = model.run.key(i);
    const link = el("a", { href: `#run-${key}`, "data-key": `run/${key}`, "aria-label": `Run ${i + 1}, ${model.run.overrides?.(i) || key}` }, String(i + 1));
    const row = el("tr", {}, el("th", { scope: "row" }, link), ...columns.map((c) => cellOf(c, model.run[c.name](i))));
    row.place = i;
    view.rows.push(row);
  }
  body.append(...view.rows);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    if (row && !event.target.closest("a") && !String(getSelection())) openRun(model.run.key(row.place));
  });
  const corner = el("th", { scope: "col" }, "run");
  byId("table").replaceChildren(el("table", { class: "runs" }, el("caption", { class: "hidden" }, "Runs, one row per point and seed"), el("thead", {}, el("tr", {}, corner, ...head)), body));
  sortRows(model);
  filterRows(model);
}

function headCell(model, column) {
  const title = [column.meaning, column.unit && `Unit: ${column.unit}.`].filter(Boolean).join(" ");
  const button = el("button", { type: "button", class: "sort", "data-key": `sort/${column.name}`, title }, column.label, el("span", { class: "arrow", "aria-hidden": "true" }));
  button.addEventListener("click", () => {
    const again = view.sort.name === column.name;
    view.sort = again && view.sort.down ? { name: null, down: false } : { name: column.name, down: again };
    sortRows(model);
  });
  return el("th", { scope: "col", "data-column": column.name, class: column.numeric ? "number" : null }, button);
}

function cellOf(column, value) {
  const words = show(column.name, value);
  return el("td", { class: column.numeric ? "number" : null, title: words.length > 40 ? words : null }, words);
}

function sortRows(model) {
  const { name, down } = view.sort;
  const read = name && model.run[name];
  const missing = (value) => value === null || Number.isNaN(value);
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  const values = new Map(view.rows.map((row) => [row, read ? numeric(read(row.place)) : row.place]));
  const ordered = view.rows.toSorted((one, two) => {
    const [a, b] = [values.get(one), values.get(two)];
    if (missing(a) || missing(b)) return missing(a) - missing(b) || one.place - two.place; // what is missing comes last
    return (down ? -compare(a, b) : compare(a, b)) || one.place - two.place;
  });
  const body = byId("table").querySelector("tbody");
  body.append(...ordered);
  for (const head of byId("table").querySelectorAll("th[data-column]")) {
    const sortedBy = head.dataset.column === name;
    if (sortedBy) head.setAttribute("aria-sort", down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    head.querySelector(".arrow").textContent = sortedBy ? (down ? " ▼" : " ▲") : "";
  }
}

// Words that must all occur in a row, and comparisons such as epsilon<=2.
function predicate(model, filter) {
  const tests = filter.trim().split(/\s+/).filter(Boolean).map((word) => {
    const found = word.match(/^([\w.]+)(<=|>=|!=|=|<|>)(.+)$/);
    const read = found && model.run[found[1]];
    if (!read) return (i) => model.words(i).includes(word.toLowerCase());
    const [, , sign, wanted] = found;
    const limit = wanted === "∞" ? Infinity : numeric(wanted === "" || Number.isNaN(Number(wanted)) ? wanted : Number(wanted));
    return (i) => {
      const value = numeric(read(i));
      if (value === null) return sign === "!=";
      if (sign === "=" || sign === "!=") return (typeof value === "number" ? value === limit : String(value).toLowerCase() === wanted.toLowerCase()) === (sign === "=");
      if (typeof value !== "number" || typeof limit !== "number") return false;
      return { "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit }[sign];
    };
  });
  return (i) => tests.every((test) => test(i));
}

function filterRows(model) {
  const wanted = predicate(model, view.filter);
  let count = 0;
  for (const row of view.rows) {
    row.hidden = !wanted(row.place);
    if (!row.hidden) count++;
  }
  byId("shown").textContent = count === model.count ? plural(count, "run") : `${count} of ${plural(model.count, "run")}`;
}

function drawChoices(model) {
  const chosen = new Set(shownColumns(model).map((c) => c.name));
  const boxes = model.columns.map((column) => {
    const box = el("input", { type: "checkbox", checked: chosen.has(column.name), "data-key": `column/${column.name}` });
    box.addEventListener("change", () => {
      const now = new Set(shownColumns(model).map((c) => c.name));
      if (box.checked) now.add(column.name);
      else now.delete(column.name);
      view.columns = now;
      drawTable(model);
    });
    return el("label", { title: column.meaning }, box, ` ${column.label}`);
  });
  byId("choices").replaceChildren(byId("choices").querySelector("legend"), ...boxes);
}

function drawFailures(model) {
  byId("failed").hidden = !model.failures.length;
  const rows = model.failures.map((f) => [f.overrides || f.folder, f.experiment, f.error, f.command ? commandLine(f.command) : "–"]);
  byId("failures").replaceChildren(table("Failed jobs", ["overrides", "experiment", "what went wrong", "run it again"], rows));
}
