// The filter: words that must all occur in a row, and comparisons such as epsilon<=2; and what is wrong with them.

const COMPARISON = /^([\w.ε]+)(<=|>=|!=|=|<|>)(.*)$/;

// Words with spaces stand in quotes, as for the command line's --select.
const PARTS = /(?:[^\s"']|"[^"]*"|'[^']*')+|["']/g;
const unquoted = (words) => words.replace(/^(["'])(.*)\1$/, "$2");
const YES = { true: "true", 1: "true", yes: "true", false: "false", 0: "false", no: "false" };
// What privacy decides, and a run without it does not have: none of it chooses among such runs.
const OF_PRIVACY = new Set(["delta", "adjacency", "accountant", "clipping", "clip_norm", "final_clip_norm", "secret_cohorts", "sampling"]);
const isOfPrivacy = (name) => OF_PRIVACY.has(name) || name.startsWith("epsilon") || name.startsWith("noise");

// {wanted: whether a run passes, beside: whether one without privacy does, problems: sentences on comparisons that are passed over}
function parsed(model, filter) {
  const tests = [];
  const kept = [];
  const problems = [];
  for (const part of filter.match(PARTS) || []) {
    const word = unquoted(part);
    const found = word === part ? part.match(COMPARISON) : null;
    if (found) found[3] = unquoted(found[3]);
    const name = found && (found[1] === "ε" ? "epsilon" : found[1]);
    const isWord = () => Array.from({ length: model.count }).some((_, i) => model.words(i).includes(word.toLowerCase()));
    if (!found || (!model.run[name] && isWord())) {
      tests.push((i) => model.words(i).includes(word.toLowerCase()));
      kept.push(tests.at(-1));
    }
    else {
      const problem = wrongWith(model, name, found[2], found[3]);
      if (problem) problems.push(problem);
      else {
        tests.push(comparison(model.run[name], found[2], found[3]));
        if (!isOfPrivacy(name)) kept.push(tests.at(-1));
      }
    }
  }
  return { wanted: (i) => tests.every((test) => test(i)), beside: (i) => kept.every((test) => test(i)), problems };
}

const limitOf = (wanted) => (wanted === "∞" ? Infinity : numeric(wanted === "" || Number.isNaN(Number(wanted)) ? wanted : Number(wanted)));

function comparison(read, sign, wanted) {
  const limit = limitOf(wanted);
  return (i) => {
    const value = numeric(read(i));
    if (value === null) return sign === "!=";
    if (typeof value === "boolean") return (String(value) === (YES[wanted.toLowerCase()] ?? wanted)) === (sign === "=");
    if (sign === "=" || sign === "!=") return (typeof value === "number" ? value === limit : String(value).toLowerCase() === wanted.toLowerCase()) === (sign === "=");
    return { "<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit }[sign];
  };
}

// One sentence, or nothing.
function wrongWith(model, name, sign, wanted) {
  const column = model.columns.find((c) => c.name === name) || (name === "n" && { numeric: true });
  if (!model.run[name]) {
    const near = nearest(name, [...model.columns.map((c) => c.name), "n"]);
    return `there is no column ${name}: ${near ? `did you mean ${near}?` : "Columns, beside the filter, lists those there are."}`;
  }
  if (wanted === "") return `${name}${sign} lacks a value, such as ${name}${sign}${column.numeric === false ? "word" : "1"}.`;
  if (!column) return null; // not in any table, as a curve is not
  if (!column.numeric) return sign.startsWith("<") || sign.startsWith(">") ? `${name} is text and has no order: compare it by = or !=.` : null;
  return typeof limitOf(wanted) === "number" ? null : `${name} is a number, and ${wanted} is none: give one, such as ${name}${sign}1.`;
}

// The name that the fewest changes of a letter lead to, or that begins so; null if none is near.
function nearest(name, names) {
  const asked = name.toLowerCase();
  const near = (other) => {
    const begins = asked.length > 2 && other.split("_").some((part) => part.startsWith(asked)) ? 1 : Infinity;
    return Math.min(changes(asked, other), begins, ...other.split("_").map((part) => changes(asked, part) + 0.5));
  };
  const best = names.map((other) => [near(other), other]).sort((a, b) => a[0] - b[0])[0];
  return best && best[0] <= Math.max(1, asked.length / 3) ? best[1] : null;
}

function changes(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] !== b[j - 1]));
    row = next;
  }
  return row[b.length];
}
