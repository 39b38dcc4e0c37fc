// The table of points or of runs: sorted, filtered, its columns chosen. A real table, whose rows are made once for each look.

let looked = null; // what the table shows, and its rows

function shownColumns(rows) {
  const chosen = view.columns[view.show];
  return rows.columns.filter((column) => (chosen ? chosen.has(column.name) : column.shown));
}

function drawTable(model) {
  const rows = rowsOf(model);
  const columns = shownColumns(rows);
  const body = el("tbody");
  const made = [];
  for (let i = 0; i < rows.count; i++) {
    const key = rows.key(i);
    const href = rows.href(i);
    const link = href ? el("a", { href, "data-key": rows.dataKey(i), "aria-label": rows.name(i) }, String(i + 1)) : String(i + 1);
    const row = el("tr", {}, el("th", { scope: "row" }, link), pickCell(rows, i, key), ...columns.map((c) => cellOf(c, c.words(i))));
    row.place = i;
    made.push(row);
  }
  looked = { ...rows, made };
  body.append(...made);
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr");
    const href = row && rows.href(row.place);
    if (href && !event.target.closest("a, label") && !String(getSelection())) location.hash = href;
  });
  body.addEventListener("change", (event) => event.target.matches(".pick") && picked(model, event.target));
  const caption = view.show === "runs" ? "Runs, one row per point and seed" : "Points, means over their seeds";
  const corner = [el("th", { scope: "col" }, rows.noun), el("th", { scope: "col" }, el("span", { class: "hidden" }, "To compare"))];
  byId("table").replaceChildren(el("table", { class: "runs" }, el("caption", { class: "hidden" }, caption), el("thead", {}, el("tr", {}, ...corner, ...columns.map((column) => headCell(model, column)))), body));
  for (const name of ["points", "runs"]) byId(`show-${name}`).setAttribute("aria-pressed", String(view.show === name));
  sortRows();
  filterRows(model);
  drawPicked();
}

function headCell(model, column) {
  const title = [column.meaning, column.unit && `Unit: ${column.unit}.`].filter(Boolean).join(" ");
  const button = el("button", { type: "button", class: "sort", "data-key": `sort/${column.name}`, title }, column.label, el("span", { class: "arrow", "aria-hidden": "true" }));
  button.addEventListener("click", () => {
    const now = view.sort[view.show];
    const again = now?.name === column.name;
    view.sort[view.show] = again && now.down ? null : { name: column.name, down: again };
    remember(model);
    sortRows();
  });
  return el("th", { scope: "col", "data-column": column.name, class: column.numeric ? "number" : null }, button);
}

function cellOf(column, words) {
  return el("td", { class: column.numeric ? "number" : null, title: words.length > 40 ? words : null }, words);
}

function sortRows() {
  const { name, down } = view.sort[view.show] || { name: null, down: false };
  const column = looked.columns.find((c) => c.name === name);
  const missing = (value) => value === null || Number.isNaN(value);
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  const values = new Map(looked.made.map((row) => [row, column ? column.value(row.place) : row.place]));
  const ordered = looked.made.toSorted((one, two) => {
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

function filterRows(model) {
  const { wanted, problems } = parsed(model, view.filter);
  const passes = looked.passes(wanted);
  let count = 0;
  for (const row of looked.made) {
    row.hidden = !passes(row.place);
    if (!row.hidden) count++;
  }
  const all = plural(looked.count, looked.noun);
  byId("shown").textContent = count === looked.count ? all : `${count} of ${all}`;
  byId("filter-said").hidden = !problems.length;
  byId("filter-said").replaceChildren(...problems.map((sentence) => el("p", {}, sentence)));
}

function drawChoices(model) {
  const rows = rowsOf(model);
  const chosen = new Set(shownColumns(rows).map((c) => c.name));
  const boxes = rows.columns.map((column) => {
    const box = el("input", { type: "checkbox", checked: chosen.has(column.name), "data-key": `column/${column.name}` });
    box.addEventListener("change", () => {
      const now = new Set(shownColumns(rowsOf(model)).map((c) => c.name));
      if (box.checked) now.add(column.name);
      else now.delete(column.name);
      view.columns[view.show] = now;
      remember(model);
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
