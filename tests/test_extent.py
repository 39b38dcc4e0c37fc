"""Axes span the data: what runs past them is cut aloud, and what an accuracy is read against stands in the figure."""

import functools
import math
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dpjax.results.schema import METRICS, bounds_of
from dpjax.results.table import frame_of
from experiments import plots
from experiments.figures import lines, style
from experiments.figures.look import look_of

INF = math.inf
SHARES = [name for name in METRICS if bounds_of(name) == (0.0, 1.0)]
WITH_BANDS = ("privacy_utility_curve", "accuracy_by_clients", "algorithms_by_epsilon", "algorithms_by_clients")


def two_seeds(metric: str, **fields: Any) -> list[dict[str, Any]]:
    """Two seeds 0.06 apart, whose 95 % interval is as wide as 0.76."""
    mean = fields.pop("mean", 0.9)
    name = repr(sorted(fields.items()))
    row = {"dataset": "d", "model": "m", "clip_norm": 1.0, "config_hash": name, "wall_seconds": 1.0, **fields}
    row |= {"clip_norm": INF} if fields.get("epsilon") == INF else {}
    return [row | {"seed": seed, metric: mean + 0.03 * (2 * seed - 1)} for seed in range(2)]


def sweep(metric: str = "test_accuracy", **fields: Any) -> Any:
    return frame_of(
        [
            row
            for e in (1.0, 8.0, INF)
            for c in (0.1, 1.0)
            for row in two_seeds(metric, epsilon=e, clip_norm=c, **fields)
        ]
    )


@functools.cache
def kinds(metric: str = "test_accuracy", worst: float | None = None, **fields: Any) -> dict[str, Figure]:
    """Every kind of figure with the metric on an axis or in its colours; the point of ε = 1 as bad as asked for."""
    look = look_of(spread="ci")

    def rows(**told: Any) -> list[dict[str, Any]]:
        found = []
        for epsilon in (1.0, 2.0, 4.0, 8.0):
            mean = worst if worst is not None and epsilon == 1.0 else 0.9
            found += two_seeds(metric, epsilon=epsilon, mean=mean, **told, **fields)
        return found + two_seeds(metric, epsilon=INF, mean=0.95, **told, **fields)

    clipped = frame_of([*rows(clip_norm=0.1), *rows(clip_norm=1.0)])
    federated = [
        rows(algorithm=name, clients_per_round=count, num_clients=100, unit="client")
        for name in ("fedavg", "scaffold")
        for count in (10, 50)
    ]
    of_clients = frame_of([row for part in federated for row in part])
    named = {"accuracy_by_clients": of_clients, "algorithms_by_epsilon": of_clients}
    named["algorithms_by_clients"] = of_clients
    names = ("privacy_utility_curve", "pareto_front", "epsilon_clip_heatmap", *named)
    figures = {name: plots.draw(name, named.get(name, clipped), metric, look) for name in names}
    return figures | {"own": plots.curve(clipped, y=metric, hue="clip_norm", seeds=True)}


@pytest.mark.parametrize("metric", SHARES)
def test_an_interval_of_two_seeds_stretches_no_axis_of_a_share_and_is_cut_aloud(metric):
    for name, figure in kinds(metric).items():
        if name not in (*WITH_BANDS, "own"):
            continue
        for axes in [axes for axes in figure.axes if axes.axison]:
            low, high = axes.get_ylim()
            assert 0.6 < low < 0.87, name
            assert 0.95 < high <= 1.02, name
            bands = [path.vertices for band in axes.collections for path in band.get_paths()]
            if name in ("privacy_utility_curve", "own"):
                assert np.concatenate(bands)[:, 1].max() <= 1.0
        assert "intervals over 2 seeds run past the axis" in style.caption_of(figure), name


def test_bands_that_end_on_the_axis_are_not_spoken_of():
    rows = [row for e in (1.0, 8.0) for row in two_seeds("test_accuracy", epsilon=e, mean=0.5)]
    figure = plots.curve(frame_of(rows), spread="std")
    assert "past the axis" not in style.caption_of(figure)
    assert figure.axes[0].get_ylim()[0] < 0.5 - 0.042 < 0.5 + 0.042 < figure.axes[0].get_ylim()[1]


@pytest.mark.parametrize(("metric", "worst"), [("test_r2", -38.0), ("test_loss", 420.0), ("my_score", -70.0)])
def test_one_very_bad_point_is_an_arrow_with_its_value_and_squeezes_no_curve(metric, worst):
    for name, figure in kinds(metric, worst).items():
        axes: Any = figure.axes[0]
        caption = style.caption_of(figure)
        if name == "epsilon_clip_heatmap":
            assert "2 cells lie beyond the colours" in caption
            assert axes.collections[0].norm.vmax - axes.collections[0].norm.vmin < 1
            continue
        if name == "algorithms_by_clients":
            continue  # whose panels are of one ε each: the worst has its own
        panels = [axes for axes in figure.axes if "arrow" in str(axes.get_label())]
        assert panels, name
        for axes in panels:
            low, high = axes.get_ylim()
            assert high - low < 2, name
            arrows = [line for line in axes.get_lines() if line.get_marker() == ("v" if worst < 0 else "^")]
            assert any(not line.get_clip_on() for line in arrows), name
            told = {text.get_text() for text in axes.texts}
            assert f"{worst:.{3 if abs(worst) < 100 else 0}f}" in told, name
        assert f"{'below' if worst < 0 else 'above'} the axis" in caption, name


@pytest.mark.parametrize(
    ("metric", "level", "least"),
    [
        ("test_accuracy", 0.80716, 0.05),
        ("test_accuracy", 1.0, 0.05),
        ("test_auroc", 0.0, 0.05),
        ("test_r2", 0.6, 0.05),
        ("test_loss", 0.30103, 3e-4),
        ("test_mae", 2_345_678.0, 2e3),
        ("my_score", -70.0, 0.07),
    ],
)
def test_points_that_are_equal_but_for_rounding_have_an_axis_that_is_read(metric, level, least):
    told = {"dataset": "d", "model": "m", "wall_seconds": 1.0, "test_majority": 0.80716}
    runs = [
        told | {"epsilon": e, "clip_norm": c, "config_hash": f"{e}{c}", "seed": 0, metric: level * (1 - e * 1e-9)}
        for e in (1.0, 2.0, 8.0) for c in (0.1, 1.0)
    ]  # fmt: skip
    federated = [
        row | {"algorithm": name, "clients_per_round": n, "num_clients": 100, "unit": "client", "clip_norm": 1.0,
               "config_hash": f"{row['epsilon']}{name}{n}"}
        for row in runs[::2] for name in ("fedavg", "scaffold") for n in (10, 50)
    ]  # fmt: skip
    names = ("privacy_utility_curve", "pareto_front", "epsilon_clip_heatmap")
    figures = {name: plots.draw(name, frame_of(runs), metric) for name in names}
    figures |= {name: plots.draw(name, frame_of(federated), metric) for name in WITH_BANDS[1:]}
    figures["own"] = plots.curve(frame_of(runs), y=metric, hue="clip_norm")
    for name, figure in figures.items():
        figure.draw_without_rendering()
        if name == "epsilon_clip_heatmap":
            norm = figure.axes[0].collections[0].norm
            assert norm.vmax - norm.vmin >= 0.99 * least, name
        for axes in [axes for axes in figure.axes if axes.axison]:
            assert axes.yaxis.get_offset_text().get_text() == "", name
            assert axes.xaxis.get_offset_text().get_text() == "", name
            if name == "epsilon_clip_heatmap":
                continue
            low, high = axes.get_ylim()
            assert low <= level <= high, name
            assert high - low >= 0.99 * least, name
            ticks = [tick.label1.get_text() for tick in axes.yaxis.get_major_ticks() if low <= tick.get_loc() <= high]
            assert len(set(ticks)) == len(ticks) >= 2, name
            assert low <= float(ticks[0].replace("−", "-")) <= high, name
            assert all(len(text) < 9 for text in ticks), (name, ticks)


def r2_curve(*means: float) -> Figure:
    rows = [row for e, mean in zip((1.0, 2.0, 4.0, 8.0), means, strict=True)
            for row in two_seeds("test_r2", epsilon=e, mean=mean)]  # fmt: skip
    return plots.curve(frame_of(rows), y="test_r2", spread="none")


def test_an_r2_a_little_below_the_mean_predictors_is_drawn_and_0_is_in_view():
    for means in ((-0.227, 0.42, 0.43, 0.44), (-0.227, 0.424, 0.425, 0.426), (0.2, 0.42, 0.43, 0.44)):
        figure = r2_curve(*means)
        assert "arrow" not in style.caption_of(figure)
        low, high = figure.axes[0].get_ylim()
        assert low < min(0.0, means[0]) < 0.44 < high < 1
    assert r2_curve(0.88, 0.89, 0.9, 0.91).axes[0].get_ylim()[0] > 0.7  # far from 0, which would squeeze it
    assert "arrow: 1 point lies below the axis" in style.caption_of(r2_curve(-4.0, 0.42, 0.43, 0.44))


def test_a_curve_that_is_bad_as_a_whole_is_drawn_whole():
    rows = [row for e, mean in ((1.0, -38.0), (2.0, -20.0), (4.0, -9.0), (8.0, -4.0)) for row in
            two_seeds("test_r2", epsilon=e, mean=mean)]  # fmt: skip
    figure = plots.curve(frame_of(rows), y="test_r2")
    assert figure.axes[0].get_ylim()[0] < -38
    assert "arrow" not in style.caption_of(figure)


def test_no_line_of_a_method_looks_as_what_was_run_without_privacy():
    dashes = {str(dash) for dash in style.LINES}
    assert len(dashes) == len(style.LINES)
    assert str(style.DOTTED) not in dashes
    for name, figure in kinds().items():
        drawn: list[Any] = [line for axes in figure.axes for line in axes.get_lines() if line.get_linestyle() != "None"]
        without = [line for line in drawn if line.get_color() == style.INK]
        if name in ("privacy_utility_curve", "accuracy_by_clients", "own"):
            assert without, name
        patterns = {str(line._dash_pattern[1]) for line in drawn if line not in without}
        assert all(line._dash_pattern[1][0] < 2 * line.get_linewidth() for line in without), name
        assert not patterns & {str(line._dash_pattern[1]) for line in without}, name


def test_nothing_opaque_lies_over_a_band():
    for name, figure in kinds().items():
        boxes = [text.get_bbox_patch() for text in figure.findobj(Text)]
        assert not [box for box in boxes if box is not None and box.get_alpha() != 0], name


def test_seeds_are_seen_beside_their_mean():
    figure = plots.curve(sweep(), hue="clip_norm", seeds=True)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    dots = [line for line in axes.get_lines() if line.get_gid() == lines.SEEDS]
    means = [line for line in axes.get_lines() if line.get_marker() in style.MARKERS and line not in dots]
    assert len(dots) == 4
    for each in dots:
        assert each.get_markerfacecolor() == "none"
        assert each.get_zorder() > max(line.get_zorder() for line in means)
        at = axes.transData.transform((each.get_xdata()[0], 0.5))[0]
        drawn = each.get_transform().transform((each.get_xdata()[0], 0.5))[0]
        assert abs(drawn - at) * 72 / figure.dpi > 4


@pytest.mark.parametrize(("metric", "share", "is_shown"), [
    ("test_accuracy", 0.88, True), ("test_accuracy", 0.5, False), ("test_auroc", 0.88, False),
])  # fmt: skip
def test_an_accuracy_is_read_against_that_of_the_commonest_class(metric, share, is_shown):
    for name, figure in kinds(metric, test_majority=share).items():
        levels = [
            line
            for axes in figure.axes
            for line in axes.get_lines()
            if np.asarray(line.get_ydata()).tolist() == [share] * 2
        ]
        assert bool(levels) == (is_shown and name != "epsilon_clip_heatmap"), name
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
        told = [text.get_text() for legend in legends for text in legend.get_texts()]
        assert ("commonest class: 0.880" in told) == bool(levels), name
        assert ("commonest class: test accuracy 0.880" in style.caption_of(figure)) == is_shown, name


def test_letters_are_measured_as_wide_as_the_file_has_them():
    import matplotlib

    with style.styled():
        assert matplotlib.rcParams["figure.dpi"] == matplotlib.rcParams["savefig.dpi"]
        assert style.panels(1)[0].dpi == matplotlib.rcParams["savefig.dpi"]
