// Colours of a value between two others: viridis, which reads the same to colour-blind eyes and in grey.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

function ramp(share) {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const [low, high] = [VIRIDIS[Math.floor(at)], VIRIDIS[Math.ceil(at)]];
  const mixed = [1, 3, 5].map((k) => {
    const [a, b] = [low, high].map((colour) => parseInt(colour.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * (at % 1));
  });
  return `rgb(${mixed.join(" ")})`;
}

// A line on the page's own ground leaves out the end of the ramp that the ground would hide: style.css has its ends.
function inked(node, property, share) {
  node.style.setProperty("--share", share);
  node.style.setProperty("--on-light", ramp(share * 0.8));
  node.style.setProperty("--on-dark", ramp(0.35 + share * 0.65));
  node.classList.add(property === "stroke" ? "inked-line" : "inked");
  return node;
}

const inkOn = (share) => (share < 0.55 ? "#fff" : "#000");
const shareOf = (value, [low, high]) => (high > low ? Math.min(Math.max((value - low) / (high - low), 0), 1) : 0.5);

// What the colours mean: a bar from the least to the most, both in numbers.
function rampLegend(label, [low, high], onPage) {
  const bar = svg("svg", { viewBox: "0 0 120 12", class: "ramp", "aria-hidden": "true", "shape-rendering": "crispEdges" });
  for (let k = 0; k < 24; k++) {
    const piece = svg("rect", { x: k * 5, y: 0, width: 5.2, height: 12 });
    if (onPage) inked(piece, "fill", k / 23);
    else piece.style.fill = ramp(k / 23);
    bar.append(piece);
  }
  return el("div", { class: "legend" }, el("span", { class: "quiet" }, label), el("span", {}, small(low, 3)), bar, el("span", {}, small(high, 3)));
}
