// Elements, numbers and the packed columns: what every other file here uses.

const HTML = "http://www.w3.org/1999/xhtml";
const SVG = "http://www.w3.org/2000/svg";
const byId = (id) => document.getElementById(id);

// Texts only ever become text nodes and attributes: nothing in a result can become markup.
function make(space, name, attributes = {}, children = []) {
  const node = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}
const el = (name, attributes, ...children) => make(HTML, name, attributes, children);
const svg = (name, attributes, ...children) => make(SVG, name, attributes, children);

const INFINITE = { inf: Infinity, "-inf": -Infinity, nan: NaN };

// A packed column as a function from a row's place to its value.
function reader(column, data) {
  if (!column) return () => null;
  if ("all" in column) return () => column.all;
  if ("t" in column) return (i) => (column.t[i] === null ? null : data.texts[column.t[i]]);
  if ("l" in column) return (i) => (column.l[i] === null ? null : data.lists[column.l[i]]);
  return (i) => column.v[i];
}

function readers(cells, data) {
  return Object.fromEntries(Object.entries(cells).map(([name, column]) => [name, reader(column, data)]));
}

const numeric = (value) => (typeof value === "string" && value in INFINITE ? INFINITE[value] : value);
const isNumber = (value) => typeof value === "number" && !Number.isNaN(value);
const numbers = (values) => (values || []).map(numeric);

// A number in as few signs as say it, as the tables of the command line write it.
function small(value, digits = 4) {
  value = numeric(value);
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return String(value);
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return value.toLocaleString("en-GB").replace(/^(\d),(\d{3})$/, "$1$2");
  const [mantissa, exponent] = value.toPrecision(digits).split("e");
  const plain = Number(value.toPrecision(digits));
  if (Math.abs(plain) >= 1e-3 && Math.abs(plain) < 1e7) return String(plain);
  const [m, e] = exponent ? [mantissa, exponent] : plain.toExponential().split("e");
  return `${Number(m)}e${Number(e)}`;
}

// An ε never reads smaller than it is.
function smallUp(value, digits = 3) {
  value = numeric(value);
  if (!isNumber(value) || !Number.isFinite(value) || value <= 0) return small(value);
  const step = 10 ** (Math.floor(Math.log10(value)) - digits + 1);
  return small(Math.ceil(value / step - 1e-6) * step, digits);
}

const ROUNDED_UP = new Set(["epsilon_pld", "epsilon_rdp"]);
function show(name, value) {
  if (value === null || value === undefined) return "–";
  if (ROUNDED_UP.has(name)) return smallUp(value);
  if (/accuracy|loss|_r2|_mae|_rmse/.test(name) && isNumber(value) && Math.abs(value) < 1e6) return value.toFixed(Math.abs(value) < 100 ? 3 : 0);
  return typeof value === "number" || value in INFINITE ? small(value) : String(value);
}

function spread(mean, std) {
  if (!isNumber(mean)) return "–";
  if (Math.abs(mean) >= 1e6) return [mean, std].filter(isNumber).map((x) => small(Number(x.toPrecision(3)))).join(" ± ");
  const digits = Math.abs(mean) < 100 ? 3 : 0;
  return mean.toFixed(digits) + (isNumber(std) ? ` ± ${std.toFixed(digits)}` : "");
}

function duration(seconds) {
  if (!isNumber(seconds)) return "";
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

// Names of sweeps differ at their ends as often as at their beginnings.
const shortened = (words, most) => (words.length > most ? `${words.slice(0, Math.ceil((most - 1) / 2))}…${words.slice(-Math.floor((most - 1) / 2))}` : words);
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function table(caption, head, rows, attributes = {}) {
  return el(
    "table",
    attributes,
    el("caption", { class: "hidden" }, caption),
    el("thead", {}, el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell, i) => el(i ? "td" : "th", i ? {} : { scope: "row" }, cell))))),
  );
}

// A details element that fills itself when it is first opened, and is found again by its name after a refresh.
function folded(key, summary, fill) {
  const node = el("details", { "data-key": key }, el("summary", { "data-key": `${key}/summary` }, summary));
  node.addEventListener("toggle", () => node.open && node.children.length === 1 && node.append(fill()));
  return node;
}

function commandLine(command) {
  const line = el("code", {}, command);
  const select = () => getSelection().selectAllChildren(line) ?? "Selected";
  const button = copyOf(el("button", { type: "button", class: "plain copy" }, "Copy"), () => command, select);
  return el("div", { class: "command" }, line, button);
}
