// What starts when the page does: the model of the data, the parts that are drawn of it, and, if it is served, news.

let model = null;
let metric = null;
const EVERY = 1000; // milliseconds between questions to the server
let news = null; // the version of the data that a served page shows

function modelOf(data) {
  const run = readers(data.cells, data);
  const point = readers(data.points.cells, data);
  const labels = Object.fromEntries([...data.columns, ...data.metrics].map((column) => [column.name, column.label]));
  const lower = new Map();
  const keys = new Map(Array.from({ length: data.count }, (_, i) => [run.key(i), i]));
  const label = (name) => labels[name] || name.replaceAll("_", " ");
  const ofRun = [];
  data.points.runs.forEach((runs, p) => runs.forEach((i) => (ofRun[i] = p)));
  run.n ??= (i) => point.n?.(ofRun[i]) ?? null; // seeds of the run's point, for the filter
  const varies = new Set(data.columns.filter((column) => column.shown).map((column) => column.name));
  return {
    ...data,
    run,
    point,
    keys,
    label,
    pointCount: data.points.count,
    pointRuns: data.points.runs,
    config: readers(data.config, data),
    words(i) {
      if (!lower.has(i)) lower.set(i, [...data.columns.map((c) => show(c.name, run[c.name](i))), run.overrides?.(i) ?? ""].join(" ").toLowerCase());
      return lower.get(i);
    },
    seedName: (i) => (run.seed?.(i) === null ? `run ${i + 1}` : `seed ${run.seed(i)}`),
    runTitle(i, withSeed = true) {
      const told = data.knobs.filter((name) => varies.has(name) && run[name](i) !== null).map((name) => `${label(name)} ${show(name, run[name](i))}`);
      const what = [run.dataset?.(i), run.model?.(i)].filter(Boolean).join(", ");
      return [what, `ε ${smallUp(run.epsilon(i))}`, ...told, !withSeed || run.seed(i) === null ? null : `seed ${run.seed(i)}`].filter(Boolean).join(", ");
    },
  };
}

// Draws again without taking away where the reader is: focus, open details, scrolling.
function keepingPlace(draw) {
  const focused = document.activeElement?.dataset?.key;
  const open = new Set([...document.querySelectorAll("details[open][data-key]")].map((node) => node.dataset.key));
  const scrolled = [...document.querySelectorAll("[id].scroll")].map((node) => [node.id, node.scrollLeft, node.scrollTop]);
  const [x, y] = [scrollX, scrollY];
  draw();
  for (const node of document.querySelectorAll("details[data-key]")) if (open.has(node.dataset.key)) node.open = true;
  for (const [id, left, top] of scrolled) Object.assign(byId(id) || {}, { scrollLeft: left, scrollTop: top });
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  scrollTo(x, y);
}

function drawAll() {
  document.title = `${model.name} – dpjax report`;
  byId("title").textContent = model.name;
  byId("made").textContent = `dpjax report of ${plural(model.count, "run")}, ${plural(model.pointCount, "point")}; made ${model.made.replace("T", " ").replace("+00:00", " UTC")}.`;
  drawProgress(model.progress);
  drawNotices();
  drawOverview();
  drawFailures(model);
  route(false);
}

// What follows from what the reader has chosen.
function drawOverview() {
  drawMetrics();
  byId("filter").value = view.filter;
  drawCurves(model, metric);
  drawChoices(model);
  drawTable(model);
}

function drawNotices() {
  const box = byId("notices");
  // While a sweep is watched, what it has not done yet is progress and no notice.
  const told = model.notices.filter((notice) => !(model.watching && notice.level === "pending"));
  box.hidden = !told.length;
  box.replaceChildren(
    ...told.map(({ level, text, items }, i) => {
      const sentence = el("p", {}, el("strong", {}, level === "note" ? "Note: " : "Incomplete: "), text);
      const list = () => el("ul", {}, ...items.map((item) => el("li", {}, item)));
      const details = !items.length ? null : level !== "note" && items.length <= 8 ? list() : folded(`notice/${i}`, `Show ${plural(items.length, "line")}`, list);
      return el("div", { class: `notice ${level}` }, sentence, details);
    }),
  );
}

function drawProgress(progress) {
  const box = byId("progress");
  box.hidden = !progress || (!model.watching && progress.finished === progress.planned);
  if (!progress || box.hidden) return;
  const { planned, finished, failed, seconds_left: left } = progress;
  const over = finished + failed >= planned;
  const words = [`${finished} of ${plural(planned, "job")} finished`, failed ? `${failed} failed` : "", over ? "the sweep is over" : left ? `about ${duration(left)} left` : "time left not known yet"];
  const meter = el("progress", { max: planned || 1, value: finished + failed, "aria-label": "Jobs ended" });
  box.replaceChildren(meter, el("span", {}, words.filter(Boolean).join(", ") + "."));
}

function drawMetrics() {
  const select = byId("metric");
  metric = model.metrics.find((m) => m.name === view.metric) || model.metrics.find((m) => m.name === "test_accuracy") || model.metrics[0] || { name: "test_accuracy", label: "test accuracy", bounds: [0, 1] };
  select.replaceChildren(...model.metrics.map((m) => el("option", { value: m.name, selected: m.name === metric.name }, m.label)));
}

// The address says which run is open, so that back and bookmarks work.
function route(moved = true) {
  const key = location.hash.startsWith("#run-") ? unspelt(location.hash.slice(5)) : null;
  const i = key === null ? undefined : model.keys.get(key);
  const before = byId("run").dataset.of;
  const compared = comparedIn(model, location.hash);
  const isOpen = i !== undefined || compared !== null;
  const said = choicesIn(location.hash);
  if (moved && said && location.hash !== `#${addressOf(model)}` && unspelt(location.hash) !== `#${unspelt(addressOf(model))}`) {
    adopt(model, said);
    drawOverview();
  }
  byId("overview").hidden = isOpen;
  byId("run").hidden = !isOpen;
  hideTip(null, true);
  if (isOpen) {
    byId("run").dataset.of = key ?? "";
    if (compared) drawComparison(model, compared);
    else drawRun(model, i);
    document.title = `${compared ? byId("run-title").textContent : model.runTitle(i)} – ${model.name}`;
    if (moved) {
      scrollTo(0, 0);
      byId("run-title").focus({ preventScroll: true });
    }
  } else {
    byId("run").replaceChildren();
    delete byId("run").dataset.of;
    document.title = `${model.name} – dpjax report`;
    const links = ["run", "point"].map((kind) => before && document.querySelector(`[data-key="${kind}/${CSS.escape(before)}"]`));
    const link = before === "" ? byId("compare") : links.find(Boolean);
    if (moved && link) link.focus(); // back to where it was opened
    else if (moved && key !== null) byId("title").focus();
  }
}

const THEMES = ["auto", "light", "dark"];
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = `Theme: ${theme}`;
  try {
    localStorage.setItem("dpjax-theme", theme);
  } catch {} // a browser may refuse storage to a file
}

function startTheme() {
  let theme = "auto";
  try {
    theme = localStorage.getItem("dpjax-theme") || "auto";
  } catch {}
  setTheme(THEMES.includes(theme) ? theme : "auto");
  byId("theme").addEventListener("click", () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]));
}

async function askForNews() {
  try {
    const status = await (await fetch("status.json", { cache: "no-store" })).json();
    drawProgress(status.progress);
    if (status.version !== news) {
      const data = await (await fetch("contents.json", { cache: "no-store" })).json();
      news = status.version;
      model = modelOf(data);
      keepingPlace(drawAll);
    }
    document.documentElement.removeAttribute("data-lost");
  } catch {
    document.documentElement.dataset.lost = ""; // the server has ended; what is shown stays
  }
  setTimeout(askForNews, EVERY);
}

model = modelOf(JSON.parse(byId("data").textContent));
news = model.version ?? null;
if (model.pointCount && families(model).every((family) => isSearched(family.all))) START.kind = "pareto"; // a curve would be of one point
adopt(model, choicesIn(location.hash) || {});
startTheme();
watchTip();
drawAll();
byId("metric").addEventListener("change", (event) => {
  view.metric = event.target.value;
  remember(model);
  drawOverview();
});
byId("kind").addEventListener("change", (event) => {
  view.kind = event.target.value;
  redraw();
});
for (const name of ["points", "runs"])
  byId(`show-${name}`).addEventListener("click", () => {
    view.show = name;
    remember(model);
    drawChoices(model);
    drawTable(model);
  });
byId("compare").addEventListener("click", () => (location.hash = compareAddress()));
copyOf(byId("link"), () => (byId("run").hidden ? `${location.href.split("#")[0]}#${addressOf(model)}` : location.href), () => "Copy it from the address bar");
byId("filter").addEventListener("input", (event) => {
  view.filter = event.target.value;
  filterRows(model);
  redraw();
});
byId("columns").addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  byId("columns").open = false;
  byId("columns").querySelector("summary").focus();
});
addEventListener("hashchange", () => route());
NARROW.addEventListener("change", () => keepingPlace(drawAll));
if (model.watching) setTimeout(askForNews, EVERY);
