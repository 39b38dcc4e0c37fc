// What the y axis of a metric spans, by the rules of the figures: the data, and not what a run that went wrong would stretch
// it to, nor what rounding tells apart.

const SQUEEZED = 8; // times as long an axis may be for the worst points as for the rest
const MILD = 0.5; // so far below 0 an R² has a place: 0 is the mean predictor's, and what it is read against
const isShare = ({ bounds }) => bounds[0] === 0 && bounds[1] === 1;
const isR2 = ({ bounds }) => bounds[0] === null && bounds[1] === 1;

// The least and the largest mean that have a place on the axis.
function kept(values, metric) {
  const order = values.filter((v) => isNumber(v) && Number.isFinite(v)).sort((a, b) => (metric.lower ? a - b : b - a));
  const span = (count) => Math.abs(order[count - 1] - order[0]);
  const veryBad = isR2(metric) ? -Math.max(MILD, order[0]) : Infinity;
  let left = order.length;
  for (let count = order.length - 1; !isShare(metric) && count >= Math.max(2, Math.ceil(order.length / 2)); count--) {
    const rest = Math.max(span(count), 0.1 * Math.max(...order.slice(0, count).map(Math.abs)));
    if (rest > 0 && order[count] < veryBad && span(left) > SQUEEZED * rest) left = count;
  }
  const on = order.slice(0, left);
  return on.length ? [Math.min(...on), Math.max(...on)] : [-Infinity, Infinity];
}

// Ends of the axis: no further than the metric goes, and no nearer than where rounding makes a picture.
function spanned(ends, metric, pad) {
  const real = ends.filter((v) => isNumber(v) && Number.isFinite(v));
  if (!real.length) return [0, 1];
  const [floor, ceiling] = [metric.bounds[0] ?? -Infinity, metric.bounds[1] ?? Infinity];
  let [low, high] = [Math.max(Math.min(...real), floor), Math.min(Math.max(...real), ceiling)];
  if (isR2(metric) && low > 0 && low <= high - low) low = 0;
  const least = ceiling === 1 ? 0.05 : 1e-3 * Math.max(Math.abs(low), Math.abs(high)) || 0.1;
  if (high - low < least) {
    const middle = Math.min(Math.max((low + high) / 2, floor + least / 2), ceiling - least / 2);
    [low, high] = [middle - least / 2, middle + least / 2];
  }
  const span = high - low;
  return [Math.max(low - pad * span, floor - 0.025 * span), Math.min(high + pad * span, ceiling + 0.025 * span)];
}

// What colours span, by the same rules; values beyond have the colour of the end.
const coloured = (values, metric) => spanned(kept(values, metric), metric, 0);

// An arrow at the edge, with its value, for each point beyond it; and the sentence on them.
function arrows(series, isOn, low, toX) {
  const beyond = series.flatMap((line) => line.points.filter((p) => !isOn(p)).map((p) => ({ p, line }))).sort((a, b) => Math.abs(a.p.y) - Math.abs(b.p.y));
  if (!beyond.length) return { drawn: [], sentence: "" };
  const below = beyond[0].p.y < low;
  const stacked = new Map();
  const drawn = beyond.map(({ p, line }) => {
    const [x, side] = [toX(p.x), toX(p.x) < WIDTH * 0.6];
    const rank = stacked.get(Math.round(x / 40)) ?? 0;
    stacked.set(Math.round(x / 40), rank + 1);
    const y = below ? AREA.bottom - 7 - 14 * rank : AREA.top + 7 + 14 * rank;
    return svg(
      "g",
      { class: "beyond", fill: look(line.rank).colour },
      svg("path", { d: below ? "M0 6L5-4H-5z" : "M0-6L5 4H-5z", transform: `translate(${x.toFixed(1)} ${y})` }),
      svg("text", { x: x + (side ? 9 : -9), y: y + 4, "text-anchor": side ? "start" : "end" }, spread(p.y, null)),
    );
  });
  const told = beyond.map(({ p }) => spread(p.y, null));
  const points = told.length === 1 ? "1 point lies" : `${told.length} points lie`;
  const at = told.length <= 3 ? `at ${told.join(", ")}` : `as far as ${told.at(-1)}`;
  return { drawn, sentence: ` Arrow${told.length > 1 ? "s" : ""}: ${points} ${below ? "below" : "above"} the axis, ${at}.` };
}
