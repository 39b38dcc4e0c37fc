// The kinds of chart, and what may be chosen of each.

const KINDS = {
  curve: { words: "curves", draw: curve },
  heat: { words: "heat map", draw: heat, choices: gridChoices },
  pareto: { words: "Pareto front", draw: pareto, choices: (model, each) => [pick("cost", "Cost", model, joined(each, costsOf), 0)] },
  parallel: { words: "parallel coordinates", draw: parallel, choices: axisChoices },
};

// A chart for each family of points that may be compared.
function drawCurves(model, metric) {
  measure();
  const kind = KINDS[view.kind];
  const left = families(model);
  const found = left.map((family) => kind.draw(model, family, metric)).filter(Boolean);
  const why = !view.filter.trim() ? "No point has this metric yet." : left.length ? "No point that passes the filter has this metric." : "No point passes the filter.";
  byId("curves").replaceChildren(...(found.length ? found : [el("p", { class: "quiet" }, why)]));
  byId("kind").replaceChildren(...Object.entries(KINDS).map(([name, { words }]) => el("option", { value: name, selected: name === view.kind }, words)));
  drawApart(model);
  const each = left.map((family) => ranked(model, family, metric).told);
  byId("kind-choices").replaceChildren(...(kind.choices && found.length ? kind.choices(model, each) : []).filter(Boolean));
}

// Why models are in charts of their own, and a way to have them in one.
function drawApart(model) {
  const box = byId("apart");
  box.hidden = !model.tasks.length;
  if (box.hidden) return;
  const most = plural(Math.max(...model.tasks.map((task) => task.families.length)), "model");
  const why = view.overlay
    ? `${most} of one data set, unit, adjacency, sampling and δ are in one chart; whatever else differs is in Lines by. `
    : `${most} have a chart each, not one overlaid: the best of an ε is that of a model, until you ask for it among models. `;
  const tick = el("input", { type: "checkbox", checked: view.overlay, "data-key": "overlay" });
  tick.addEventListener("change", () => {
    view.overlay = tick.checked;
    redraw();
  });
  box.replaceChildren(why, el("label", {}, tick, " Overlay models"));
}

function redraw() {
  remember(model);
  keepingPlace(() => drawCurves(model, metric));
}

// What may be chosen in one of the charts: families differ in what was swept.
const joined = (each, namesOf) => [...new Set(each.flatMap(namesOf))];

function gridChoices(model, each) {
  const names = joined(each, (points) => inNumbers(model, points));
  return [pick("across", "Across", model, names, 0), pick("down", "Down", model, names, names[0] === view.down ? 0 : 1)];
}

function pick(choice, words, model, names, first) {
  if (names.length < 2) return null;
  const chosen = names.includes(view[choice]) ? view[choice] : names[first];
  const select = el("select", { "data-key": `choice/${choice}` }, ...names.map((name) => el("option", { value: name, selected: name === chosen }, model.label(name))));
  select.addEventListener("change", () => {
    view[choice] = select.value;
    redraw();
  });
  return el("label", {}, `${words} `, select);
}

function axisChoices(model, each) {
  const names = joined(each, (points) => settings(model, points));
  const first = new Set(joined(each, (points) => settings(model, points).filter((k) => k !== "epsilon").slice(0, 4)));
  const isOn = (name) => (view.axes ? view.axes.has(name) : name === "epsilon" || first.has(name));
  const boxes = names.map((name) => {
    const box = el("input", { type: "checkbox", checked: isOn(name), "data-key": `axis/${name}` });
    box.addEventListener("change", () => {
      view.axes = new Set(names.filter((other) => (other === name ? box.checked : isOn(other))));
      redraw();
    });
    return el("label", {}, box, ` ${model.label(name)}`);
  });
  return [el("fieldset", { class: "axes-chosen" }, el("legend", { class: "hidden" }, "Axes"), el("span", { class: "quiet" }, "Axes "), ...boxes)];
}
