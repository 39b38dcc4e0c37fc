// What the reader has chosen, and the address that opens the same view again.

const CHOICES = ["filter", "metric", "show", "columns", "sort", "chart", "lines", "across", "down", "cost", "axes", "overlay"];
const START = { filter: "", metric: null, show: "points", columns: null, sort: null, kind: "curve", across: null, down: null, cost: null, axes: null, overlay: false };
const view = {
  ...START,
  columns: { points: null, runs: null }, // names, as chosen; null: those that tell most
  sort: { points: null, runs: null }, // {name, down}
  lines: {}, // family title → the column that its lines are told apart by
  picked: { points: [], runs: [] }, // keys of what is to be compared
};

// Signs that read well in an address stay as they are; those that part it do not.
const spelt = (words) => encodeURIComponent(words).replace(/%(3C|3E|3D|20|3A|2F|E2%88%9E)/g, (sign) => decodeURIComponent(sign));
const listed = (words) => words.map(encodeURIComponent).join(",");

function unspelt(words) {
  try {
    return decodeURIComponent(words);
  } catch {
    return words; // typed by hand, with a % of its own
  }
}

function addressOf(model) {
  const { filter, show, kind } = view;
  const [columns, sort] = [view.columns[show], view.sort[show]];
  const lines = [...model.families, ...model.tasks].flatMap((family, i) => (view.lines[family.title] ? [`${i}:${encodeURIComponent(view.lines[family.title])}`] : []));
  const said = {
    filter: filter.trim() && spelt(filter.trim()),
    metric: view.metric && encodeURIComponent(view.metric),
    show: show === START.show ? null : show,
    columns: columns && listed([...columns]),
    sort: sort && (sort.down ? "-" : "") + encodeURIComponent(sort.name),
    chart: kind === START.kind ? null : kind,
    lines: lines.join(",") || null,
    across: view.across && encodeURIComponent(view.across),
    down: view.down && encodeURIComponent(view.down),
    cost: view.cost && encodeURIComponent(view.cost),
    overlay: view.overlay ? "models" : null,
    axes: view.axes && listed([...view.axes]),
  };
  return CHOICES.filter((name) => said[name] || (name === "columns" && columns)).map((name) => `${name}=${said[name]}`).join("&");
}

// An address as choices, as they stand in it; null if it says something else, such as the place of a run.
function choicesIn(hash) {
  const words = hash.replace(/^#/, "");
  const parts = words.split("&").filter(Boolean).map((part) => [part.split("=")[0], part.slice(part.indexOf("=") + 1), part.includes("=")]);
  return parts.every(([name, , says]) => says && CHOICES.includes(name)) ? Object.fromEntries(parts) : null;
}

// Takes over what an address says; what it leaves out is as at the start, and what is not there any more is passed over.
function adopt(model, said) {
  const list = (words) => (words === undefined ? null : words.split(",").filter(Boolean).map(unspelt));
  const one = (name) => (name in said ? unspelt(said[name]) : null);
  view.filter = one("filter") ?? "";
  view.metric = model.metrics.some((m) => m.name === one("metric")) ? one("metric") : null;
  view.show = one("show") === "runs" ? "runs" : "points";
  view.kind = KINDS[one("chart")] ? one("chart") : START.kind;
  const columns = list(said.columns);
  view.columns[view.show] = columns && new Set(columns);
  const sort = one("sort");
  view.sort[view.show] = sort && { name: sort.replace(/^-/, ""), down: sort.startsWith("-") };
  view.lines = {};
  for (const [place, knob] of (list(said.lines) || []).map((each) => each.split(":"))) {
    const family = [...model.families, ...model.tasks][place];
    if (family) view.lines[family.title] = knob;
  }
  for (const name of ["across", "down", "cost"]) view[name] = one(name);
  view.overlay = one("overlay") === "models";
  view.axes = list(said.axes) && new Set(list(said.axes));
}

// The address follows what is chosen without a step of its own in the browser's history.
function remember(model) {
  if (choicesIn(location.hash) === null && location.hash !== "#table") return; // a run is open
  try {
    history.replaceState(null, "", `#${addressOf(model)}`);
  } catch {} // a browser may take only so many a second: the next one says it all
}

function copyOf(button, words, otherwise) {
  const name = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(words());
      button.textContent = "Copied";
    } catch {
      button.textContent = otherwise(); // a page from a file may not use the clipboard
    }
    setTimeout(() => (button.textContent = name), 1500);
  });
  return button;
}
