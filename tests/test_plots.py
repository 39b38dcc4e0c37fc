"""Figures show what the table holds, come out byte for byte the same, and say what they cannot show."""

import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from dpjax.results import ResultsError, write_job_result
from dpjax.results.table import frame_of, load
from experiments import plots
from experiments.figures import style

INF = math.inf
CLIPS = (0.1, 0.3, 1.0)


def accuracy(epsilon: float, clip: float, clients: int | None, rng: random.Random) -> float:
    """A made-up learner: saturates in ε, prefers a larger clip norm at a larger ε, and larger cohorts."""
    private = epsilon < INF
    loss = 0.075 * epsilon**-0.75 if private else 0.0
    loss += 0.02 * (math.log10(clip / (0.3 * (epsilon / 2) ** 0.3))) ** 2 if private else 0.0
    loss += (0.1 / epsilon**0.4 if private else 0.004) * (10 / clients) ** 0.6 if clients else 0.0
    return 0.972 - loss + rng.gauss(0, 0.003 + (0.006 / epsilon**0.5 if private else 0))


def point(epsilon: float, clip: float, clients: int | None = None, **more: Any) -> list[dict[str, Any]]:
    name = f"{epsilon}-{clip}-{clients}-{more}"
    rng = random.Random(name)
    accuracies = [accuracy(epsilon, clip, clients, rng) for _ in range(3)]
    shared: dict[str, Any] = {
        "experiment": "quickstart", "config_hash": name, "overrides": name, "dataset": "digits", "model": "mlp",
        "unit": "client" if clients else "example", "adjacency": "add_or_remove_one", "sampling": "poisson",
        "sampling_rate": clients / 400 if clients else 0.25, "num_steps": 50 if clients else 100, "delta": 1e-5,
        "epsilon": epsilon, "epsilon_pld": epsilon, "accountant": "pld", "tuning_accounted": False,
        "clip_norm": clip if epsilon < INF else INF, "learning_rate": 0.5,
        "clients_per_round": clients, "num_clients": 400 if clients else None,
    }  # fmt: skip
    return [shared | more | {"seed": s, "test_accuracy": a, "test_loss": 2 * (1 - a)} for s, a in enumerate(accuracies)]


def central() -> list[list[dict[str, Any]]]:
    return [point(e, c) for e in (0.5, 1.0, 2.0, 4.0, 8.0, INF) for c in CLIPS]


def federated() -> list[list[dict[str, Any]]]:
    return [point(e, 0.3, c) for e in (1.0, 2.0, 8.0, INF) for c in (10, 50, 100)]


def table(points: list[list[dict[str, Any]]]) -> Any:
    return frame_of([row for rows in points for row in rows])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    for number, rows in enumerate(central() + federated()):
        write_job_result(folder / str(number), rows, "d")
    return folder


def test_all_figures_are_drawn_and_the_same_bytes_again(sweep, tmp_path):
    drawn = plots.plot_all(sweep)
    names = ["privacy_utility_curve", "privacy_utility_curve_federated", "epsilon_clip_heatmap", "accuracy_by_clients"]
    assert drawn.paths == [sweep / "figures" / f"{name}.{end}" for name in names for end in ("png", "pdf")]
    assert drawn.skipped == [
        "epsilon_clip_heatmap_federated: needs two values in column 'clip_norm': sweep privacy.clip_norm"
    ]
    again = plots.plot_all(sweep, tmp_path / "deep" / "out", figures=["accuracy_by_clients"])
    for path in again.paths:
        assert path.read_bytes() == (sweep / "figures" / path.name).read_bytes()
    pdf = (sweep / "figures" / "accuracy_by_clients.pdf").read_bytes()
    assert b"/CreationDate" not in pdf
    assert b"/Type3" not in pdf  # journals refuse Type 3 fonts


def test_the_curve_has_a_line_per_clip_norm_over_plain_ticks():
    axes = plots.privacy_utility_curve(table(central())).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.5", "1", "2", "4", "8"]
    assert axes.get_xscale() == "log"
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert entries[:-1] == ["0.1", "0.3", "1", "best at each ε"]
    assert entries[-1].startswith("non-private: 0.97")
    assert axes.get_legend().get_title().get_text() == "clip norm"
    words = " ".join(text.get_text() for text in axes.texts)
    for word in ("δ=1e-5", "add_or_remove_one", "Poisson q=0.25", "100 steps", "3 seeds", "tuning not accounted"):
        assert word in words
    assert axes.get_title(loc="left") == "digits, mlp, per example"


def test_the_curve_shows_means_and_looks_differ_beyond_colour():
    points = central()
    axes = plots.privacy_utility_curve(table(points)).axes[0]
    line = next(line for line in axes.get_lines() if line.get_label() == "0.3")
    means = [sum(r["test_accuracy"] for r in rows) / 3 for rows in points if rows[0]["clip_norm"] == 0.3]
    assert list(line.get_ydata()) == pytest.approx(means)
    lines = [line for line in axes.get_lines() if line.get_label() in ("0.1", "0.3", "1")]
    assert len({line.get_marker() for line in lines}) == 3
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 3


def test_central_and_federated_get_panels_of_their_own():
    figure = plots.privacy_utility_curve(table(central() + federated()))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "digits, mlp, per example",
        "digits, mlp, per client",
    ]


def test_splits_that_were_swept_together_get_panels_that_are_named_apart():
    points = [point(e, 0.1, split=split) for e in (1.0, 8.0) for split in ("owners 80/20", "rows 80/20")]
    for draw in (plots.privacy_utility_curve, plots.epsilon_clip_heatmap):
        figure = draw(table(points + [point(1.0, 1.0, split=split) for split in ("owners 80/20", "rows 80/20")]))
        titles = {axes.get_title(loc="left") for axes in figure.axes} - {""}
        assert {title.replace("\n", " ") for title in titles} == {
            "digits, mlp, per example, owners 80/20",
            "digits, mlp, per example, rows 80/20",
        }
    alone = plots.privacy_utility_curve(table([point(e, 0.1, split="rows 80/20") for e in (1.0, 8.0)]))
    assert alone.axes[0].get_title(loc="left") == "digits, mlp, per example"


def test_where_clip_norm_and_clients_vary_each_count_of_clients_gets_a_panel():
    points = [point(e, c, n) for e in (1.0, 8.0) for c in (0.1, 1.0) for n in (10, 50)]
    figure = plots.privacy_utility_curve(table(points))
    assert [axes.get_title(loc="left")[-20:] for axes in figure.axes] == [
        "10 clients per round",
        "50 clients per round",
    ]


def test_a_point_that_hides_a_choice_says_so():
    points = [point(e, c, learning_rate=rate) for e in (1.0, 8.0) for c in (0.1, 1.0) for rate in (0.1, 0.5)]
    axes = plots.privacy_utility_curve(table(points)).axes[0]
    assert "each point: best over learning rate" in [text.get_text() for text in axes.texts]


def test_a_loss_is_best_where_it_is_lowest():
    axes = plots.epsilon_clip_heatmap(table(central()), "test_loss").axes[0]
    bold = [float(text.get_text()) for text in axes.texts if text.get_weight() == "bold"]
    columns = [[r for rows in central() for r in rows if r["epsilon"] == e] for e in (0.5, 1.0, 2.0, 4.0, 8.0)]
    for value, rows in zip(bold, columns, strict=True):
        means = [sum(r["test_loss"] for r in rows if r["clip_norm"] == c) / 3 for c in CLIPS]
        assert value == pytest.approx(min(means), abs=5e-4)


def test_the_heatmap_has_every_cell_and_one_optimum_per_epsilon():
    axes = plots.epsilon_clip_heatmap(table(central())).axes[0]
    cells = [text.get_text() for text in axes.texts]
    assert sum(text.startswith("0.") for text in cells) == 15
    assert sum(text.startswith("± 0.0") for text in cells) == 15
    assert sum(text.get_weight() == "bold" for text in axes.texts) == 5
    assert any(text.startswith("non-private: 0.97") for text in cells)


def test_a_run_that_diverged_is_crossed_out_in_every_chart():
    charts = {
        "privacy_utility_curve": central(),
        "epsilon_clip_heatmap": central(),
        "accuracy_by_clients": federated(),
        "algorithms_by_epsilon": algorithms("fedavg", "scaffold"),
        "algorithms_by_clients": algorithms("fedavg", "scaffold"),
        "client_fairness": algorithms("fedavg", "scaffold"),
        "pareto_front": central(),
    }
    for name, points in charts.items():
        every = [row | {"wall_seconds": 2.0} for rows in points for row in rows]
        for row in every:
            if row["epsilon"] == 8.0:
                row |= {"diverged": True, "test_accuracy": 0.0, "test_loss": math.nan}
        figure = plots.draw(name, frame_of(every))
        words = [text.get_text() for axes in figure.axes for text in axes.texts]
        assert any("runs diverged" in word for word in words), name
        crosses = [line for axes in figure.axes for line in axes.get_lines() if line.get_marker() == "x"]
        assert crosses or any(word == "0.000 ×" for word in words), name
    # A loss that is not there can't be drawn, but is spoken of.
    figure = plots.draw("privacy_utility_curve", frame_of(every), "test_loss")
    assert any("9 of 54 runs diverged" in text.get_text() for text in figure.axes[0].texts)


def test_rounds_that_were_aborted_are_told_in_the_figure():
    every = [row | {"aborted_count": 5.0, "num_steps": 20} for rows in federated() for row in rows]
    words = [text.get_text() for axes in plots.draw("accuracy_by_clients", frame_of(every)).axes for text in axes.texts]
    assert any("rounds were aborted" in word for word in words)


def test_the_heatmap_leaves_white_what_was_not_run():
    axes = plots.epsilon_clip_heatmap(table([point(1.0, 0.1), point(1.0, 1.0), point(2.0, 1.0)])).axes[0]
    assert sum(text.get_text().startswith("0.") for text in axes.texts) == 3


def test_clients_chart_has_a_line_per_epsilon_and_the_reference():
    axes = plots.accuracy_by_clients(table(central() + federated())).axes[0]
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert entries == ["non-private", "ε = 8", "ε = 2", "ε = 1"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["10", "50", "100"]


@pytest.mark.parametrize("points", [[point(1.0, 1.0), point(8.0, 1.0)], [point(1.0, 1.0), point(INF, 1.0)]])
def test_poor_tables_draw_what_they_can_and_say_the_rest(tmp_path, points):
    for rows in points:
        write_job_result(tmp_path / rows[0]["config_hash"], rows[:1], "d")  # one seed: no band
    drawn = plots.plot_all(tmp_path, formats=["png"])
    has_curve = points[1][0]["epsilon"] < INF
    assert [path.name for path in drawn.paths] == (["privacy_utility_curve.png"] if has_curve else [])
    assert len(drawn.skipped) == 2 + (not has_curve)
    assert all("column '" in reason for reason in drawn.skipped)


def test_a_figure_asked_for_by_name_names_the_missing_column(tmp_path):
    write_job_result(tmp_path / "job", point(1.0, 1.0), "d")
    with pytest.raises(ResultsError, match="column 'clients_per_round': sweep or record it first"):
        plots.plot_all(tmp_path, figures=["accuracy_by_clients"])
    with pytest.raises(ResultsError, match="there is no column f1: "):
        plots.plot_all(tmp_path, metric="f1")
    with pytest.raises(ResultsError, match="--figure pie is not known: choose one of privacy_utility_curve"):
        plots.plot_all(tmp_path, figures=["pie"])
    with pytest.raises(ResultsError, match="--format gif is not known: choose one of png"):
        plots.plot_all(tmp_path, formats=["gif"])
    assert not (tmp_path / "figures").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(sweep, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="could not create the folder"):
        plots.plot_all(sweep, tmp_path / "file" / "out", figures=["accuracy_by_clients"])


def test_a_table_that_was_passed_on_is_drawn_beside_itself(tmp_path):
    from dpjax.results.table import write_frame

    parquet, _ = write_frame(table(federated()), tmp_path)
    drawn = plots.plot_all(parquet, figures=["accuracy_by_clients"], formats=["svg"])
    assert drawn.paths == [tmp_path / "figures" / "accuracy_by_clients.svg"]
    assert len(load(tmp_path)) == 36


def test_plots_import_matplotlib_only_to_draw():
    code = "import sys, experiments.plots; assert not {'matplotlib', 'pandas', 'jax', 'wandb'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def algorithms(*names: str) -> list[list[dict[str, Any]]]:
    """Made-up runs of several algorithms; a later one is worse by a hundredth, and serves clients less evenly."""
    found = []
    for rank, name in enumerate(names):
        for epsilon in (2.0, 8.0, INF):
            for clients in (50, 100):
                rows = point(epsilon, 0.3, clients, algorithm=name, partition="iid", aggregation="plain")
                for row in rows:
                    row["test_accuracy"] = mean = round(0.9 - rank / 100 - 0.1 / epsilon + clients / 10_000, 6)
                    row |= {"client_accuracy_mean": mean, "client_accuracy_p10": mean - 0.1 * (rank + 1)}
                found.append(rows)
    return found


def test_algorithms_have_a_line_each_and_infinity_stands_apart():
    axes = plots.draw("algorithms_by_epsilon", table(algorithms("fedavg", "scaffold", "fedprox(0.1)"))).axes[0]
    entries = [text.get_text() for text in axes.get_legend().get_texts()]
    assert entries == ["fedavg", "scaffold", "fedprox(0.1)"]  # best first
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "8", "∞"]
    line = next(line for line in axes.get_lines() if line.get_label() == "scaffold")
    assert list(line.get_ydata()) == pytest.approx([0.9 - 0.01 - 0.05 + 0.01, 0.9 - 0.01 - 0.0125 + 0.01])
    looks = {(line.get_color(), line.get_marker()) for line in axes.get_lines() if line.get_label() in entries}
    assert len({colour for colour, _ in looks}) == len({marker for _, marker in looks}) == 3
    assert "each point: best over clients" in [text.get_text() for text in axes.texts]


def test_what_ran_without_privacy_alone_looks_like_no_method_and_like_no_cross():
    runs = [row for rows in algorithms("a", "b", "c", "d", "e", "f") for row in rows if row["epsilon"] < INF]
    runs += [row | {"algorithm": "no privacy"} for rows in algorithms("a") for row in rows if row["epsilon"] == INF]
    axes = plots.draw("algorithms_by_epsilon", frame_of(runs)).axes[0]
    handles = {text.get_text(): line for text, line in zip(
        axes.get_legend().get_texts(), axes.get_legend().legend_handles, strict=True
    )}  # fmt: skip
    looks = {name: (line.get_color(), line.get_marker()) for name, line in handles.items()}
    colour, marker = looks.pop("no privacy")
    assert (colour, marker) == (style.INK, style.REFERENCE)
    assert len(looks) == 6
    assert colour not in {each for each, _ in looks.values()}
    assert marker not in {each for _, each in looks.values()}
    assert not {"x", "X", "*"} & set(style.MARKERS)  # a cross is a run that diverged


def test_algorithms_by_clients_has_a_panel_per_epsilon_and_one_look_per_algorithm():
    figure = plots.draw("algorithms_by_clients", table(algorithms("fedavg", "scaffold")))
    titles = [axes.get_title(loc="left").split(", ")[-1] for axes in figure.axes]
    assert titles == ["ε = 2", "ε = 8", "non-private"]
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["50", "100"]
        colours = {line.get_label(): line.get_color() for line in axes.get_lines()}
        assert (colours["fedavg"], colours["scaffold"]) == ("#0072B2", "#D55E00")


def test_fairness_shows_the_tenth_and_the_mean_of_each_algorithm():
    axes = plots.draw("client_fairness", table(algorithms("fedavg", "scaffold"))).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["fedavg", "scaffold"] * 3
    spans = [tuple(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 2]
    lengths = [round(high - low, 6) for low, high in spans if high - low < 1]
    assert lengths == [0.1, 0.2] * 3
    assert [text.get_text() for text in axes.texts if "seeds" in text.get_text()] == [
        "mean over 3 seeds; tuning not accounted"
    ]


def test_charts_of_other_axes_keep_algorithms_apart():
    figure = plots.privacy_utility_curve(table(algorithms("fedavg", "scaffold")))
    assert sorted(axes.get_title(loc="left").split(", ")[-1] for axes in figure.axes) == ["fedavg", "scaffold"]
    one_count = [rows for rows in algorithms("fedavg", "scaffold") if rows[0]["clients_per_round"] == 50]
    with pytest.raises(ResultsError, match="algorithms_by_epsilon draws them together"):
        plots.privacy_utility_curve(table(one_count))


def test_what_compares_is_drawn_unasked_where_there_is_something_to_compare(tmp_path):
    for number, rows in enumerate(algorithms("fedavg", "fedadam")):
        write_job_result(tmp_path / str(number), rows, "d")
    drawn = plots.plot_all(tmp_path, formats=["png"])
    assert {path.stem for path in drawn.paths} >= {"algorithms_by_epsilon", "algorithms_by_clients", "client_fairness"}
    assert not any("aggregation" in reason for reason in drawn.skipped)
    with pytest.raises(ResultsError, match=r"^aggregation_costs: .* column 'wall_seconds'"):
        plots.plot_all(tmp_path, figures=["aggregation_costs"])


def test_costs_have_a_bar_per_aggregation_whose_parts_add_up_to_the_round():
    costs = {
        "plain": {"wall_seconds": 5.0},
        "homomorphic": {"wall_seconds": 20.0, "encrypt_seconds": 0.2, "add_seconds": 0.05, "decrypt_seconds": 0.03}
        | {"uplink_bytes": 185_000.0, "aggregation_error": 1.7e-4},
        "secure": {"wall_seconds": 10.0, "uplink_bytes": 3_800.0, "aggregation_error": 2.5e-6},
    }
    points = [point(8.0, 0.3, 50, aggregation=name, algorithm="fedavg", **cost) for name, cost in costs.items()]
    seconds, sent, error = plots.draw("aggregation_costs", table(points)).axes
    names = [tick.get_text().splitlines()[0] for tick in seconds.get_yticklabels()]
    assert names == ["plain", "secure", "homomorphic"]
    ends = [0.0, 0.0, 0.0]
    for bar in seconds.patches:
        row = round(bar.get_y() + bar.get_height() / 2)
        ends[row] += bar.get_width()
    assert ends == pytest.approx([0.1, 0.2, 0.4])  # 50 rounds
    assert {"0.1 s", "0.2 s", "0.4 s"} <= {text.get_text() for text in seconds.texts}
    assert [text.get_text() for text in sent.texts] == ["not reported", "3.8", "185"]
    assert [text.get_text() for text in error.texts] == ["not reported", "2.5e-6", "1.7e-4"]


def test_a_long_title_is_broken_after_a_comma():
    names = {"partition": "dirichlet(0.1)", "dataset": "a_data_set_with_a_long_name"}
    points = [point(e, c, n, **names) for e in (1.0, 8.0) for c in (0.1, 1.0) for n in (10, 50)]
    title = plots.privacy_utility_curve(table(points)).axes[0].get_title(loc="left")
    assert title == "a_data_set_with_a_long_name, mlp, per client,\ndirichlet(0.1), 10 clients per round"


def test_kinds_of_noise_are_lines_of_their_own():
    """Equal ε that hold against different people are never one line, and references stand apart."""
    from experiments.figures.as_algorithms import noises_as_algorithms

    run = {"clients_per_round": 50, "algorithm": "fedavg"}
    rows = [
        run | {"epsilon": e, "noise": noise, "test_accuracy": a}
        for noise, a in (("gaussian", 0.9), ("skellam", 0.8))
        for e in (1.0, 8.0)
    ]
    reference = run | {"epsilon": math.inf, "test_accuracy": 0.95}
    named = noises_as_algorithms(frame_of([*rows, reference]))
    assert named["algorithm"].tolist() == named["noise"].fillna("non-private").tolist()
    legend = plots.draw("algorithms_by_epsilon", named).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["non-private", "gaussian", "skellam"]
    several = noises_as_algorithms(frame_of([row | {"algorithm": a} for row in rows for a in ("fedavg", "scaffold")]))
    assert set(several["algorithm"]) == {f"{a}, {n}" for a in ("fedavg", "scaffold") for n in ("gaussian", "skellam")}
    assert noises_as_algorithms(frame_of(rows[:2]))["algorithm"].tolist() == ["fedavg"] * 2


# ---- inside the runs ----------------------------------------------------------------------------------------------


def traced(epsilon: float, clip: float, bend: float) -> list[dict[str, Any]]:
    first, last = [0] * 34, [0] * 34
    first[24], last[10], last[17] = 30, 20, 10
    more = {
        "eval_steps": [50, 100], "eval_signal_to_noise": [0.5 * bend, 0.1 * bend] if epsilon < INF else None,
        "norm_counts_first": first, "norm_counts_last": last, "wall_seconds": 1.0 + clip, "noise": "gaussian",
        "noise_multiplier": 2.0, "population": 1438,
    }  # fmt: skip
    return point(epsilon, clip, **more)


@pytest.fixture(scope="module")
def traces() -> Any:
    return table([traced(e, c, e) for e in (1.0, 4.0, INF) for c in (0.1, 1.0)])


def test_histograms_tell_the_share_above_the_clip_norm(traces):
    figure = plots.draw("norm_histograms", traces)
    titles = [axes.get_title(loc="left").partition(",")[0] for axes in figure.axes]
    assert titles == ["ε = 1", "ε = 4"]
    printed = {text.get_text() for text in figure.axes[0].texts}
    assert "above the clip norm: 100% at first, 33% at last" in printed


def test_the_legend_of_histograms_covers_no_bar_even_where_all_norms_lie_in_one_bin():
    collapsed = [row | {"norm_counts_first": [0] * 8 + [9] + [0] * 25} for row in traced(1.0, 0.1, 1.0)]
    figure = plots.draw("norm_histograms", frame_of(collapsed))
    figure.draw_without_rendering()
    legend = figure.axes[-1].get_legend().get_window_extent()
    assert not any(legend.overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_signal_to_noise_has_a_line_per_epsilon_and_one_at_one(traces):
    (axes,) = plots.draw("signal_to_noise", traces).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ε = 4", "ε = 1"]
    assert [line.get_ydata()[0] for line in axes.get_lines()] == [0.5, 2.0, 1.0]


def test_privacy_spent_ends_where_epsilon_says(traces):
    from dpjax.accounting import Mechanism, Poisson, epsilon

    (axes,) = plots.draw("privacy_spent", traces).axes
    run = Mechanism(
        unit="example",
        adjacency="add_or_remove_one",
        sampling=Poisson(0.25),
        noise_multiplier=2.0,
        num_steps=100,
    )
    ends = {line.get_label().split(",")[0]: line.get_ydata()[-1] for line in axes.get_lines()}
    assert ends["PLD"] == pytest.approx(epsilon(run, 1e-5))
    assert ends["RDP"] == pytest.approx(epsilon(run, 1e-5, "rdp"))
    assert ends["GDP"] < ends["PLD"]


def test_the_pareto_front_rings_what_none_beats(traces):
    (axes,) = plots.draw("pareto_front", traces).axes
    printed = " ".join(text.get_text() for text in axes.texts)
    assert "of 6 points are beaten by none" in printed
    assert "0 of 6" not in printed


@pytest.mark.parametrize("name", ["norm_histograms", "signal_to_noise", "pareto_front", "privacy_spent"])
def test_a_figure_asked_for_by_name_without_its_column_is_refused(name, tmp_path):
    write_job_result(tmp_path / "0", point(1.0, 0.1), "d")
    write_job_result(tmp_path / "1", point(2.0, 0.1), "d")
    with pytest.raises(ResultsError, match=r"column '\w+'|noise=gaussian"):
        plots.plot_all(tmp_path, figures=[name])


def test_no_setting_of_the_users_own_changes_a_figure(tmp_path):
    figure = plots.privacy_utility_curve(table(central()))
    (plain,) = style.save(figure, tmp_path, "plain", ["png"])
    with matplotlib.rc_context({"axes.labelpad": 20, "lines.solid_capstyle": "butt", "xtick.direction": "in"}):
        (own,) = style.save(plots.privacy_utility_curve(table(central())), tmp_path, "own", ["png"])
        assert matplotlib.rcParams["axes.labelpad"] == 20
    assert own.read_bytes() == plain.read_bytes()


def test_a_caption_in_one_line_ends_a_sentence_before_the_next_begins():
    figure, (axes,) = style.panels(1)
    style.head(axes, "digits", ["δ=1e-5", "mean over 3 seeds; tuning not accounted", "Test rows are taken as public"])
    told = "digits: δ=1e-5; mean over 3 seeds; tuning not accounted. Test rows are taken as public."
    assert style.caption_of(figure) == told
