"""Figures of one's own: what they compare, what they say, and that they are as wide as they were asked to be."""

import math
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from matplotlib.figure import Figure
from matplotlib.text import Text

from dpjax.cli import main
from dpjax.results import ResultsError, write_job_result
from dpjax.results.choices import best_per
from dpjax.results.table import frame_of, write_frame
from experiments import plots
from experiments.figures import glyphs, lines, style
from experiments.figures.look import look_of
from experiments.figures.pareto import undominated
from experiments.figures.spec import Spec, read_spec, write_spec

INF = math.inf
BASE: dict[str, Any] = {
    "dataset": "digits", "model": "mlp", "unit": "example", "adjacency": "zero_out", "sampling": "poisson",
    "sampling_rate": 0.1, "num_steps": 100, "delta": 1e-5, "accountant": "pld", "tuning_accounted": False,
    "clip_norm": 1.0,
}  # fmt: skip


def rows(seeds: int = 3, **fields: Any) -> list[dict[str, Any]]:
    name = repr(sorted(fields.items()))
    rng = np.random.default_rng(sum(map(ord, name)))
    level = fields.pop("level", 0.8)
    found = []
    for seed in range(seeds):
        accuracy = float(level + 0.01 * rng.standard_normal())
        found.append(BASE | {"config_hash": name, "seed": seed, "test_accuracy": accuracy} | fields)
    if fields.get("epsilon") == INF:
        found = [row | {"clip_norm": INF, "delta": None, "adjacency": None} for row in found]
    return found


def methods(**more: Any) -> list[dict[str, Any]]:
    return [
        row
        for method in ("dpsgd", "dpftrl")
        for epsilon in (1.0, 2.0, 8.0)
        for row in rows(method=method, epsilon=epsilon, level=0.7 + 0.02 * epsilon, **more)
    ]


def entries(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def line(figure: Figure, name: str, panel: int = 0) -> Any:
    return next(line for line in figure.axes[panel].get_lines() if line.get_label() == name)


def test_a_line_for_each_method_is_the_mean_over_its_seeds():
    table = methods()
    figure = plots.curve(frame_of(table), hue="method")
    assert entries(figure) == ["dpftrl", "dpsgd"]
    for method in ("dpsgd", "dpftrl"):
        means = [
            np.mean([r["test_accuracy"] for r in table if (r["method"], r["epsilon"]) == (method, e)])
            for e in (1.0, 2.0, 8.0)
        ]
        np.testing.assert_allclose(line(figure, method).get_xydata(), np.stack([[1, 2, 8], means], axis=1))


@pytest.mark.parametrize(("spread", "factor"), [("std", 1.0), ("sem", 3**-0.5), ("ci", None), ("none", 0.0)])
def test_bands_are_what_they_say(spread, factor):
    table = methods()
    figure = plots.curve(frame_of(table), select="method=dpsgd", spread=spread)
    values = [r["test_accuracy"] for r in table if (r["method"], r["epsilon"]) == ("dpsgd", 2.0)]
    half = np.std(values, ddof=1) * (factor if factor is not None else scipy.stats.t.ppf(0.975, 2) / 3**0.5)
    bands = [path.vertices for band in figure.axes[0].collections for path in band.get_paths()]
    if spread == "none":
        assert not bands
        return
    heights = sorted(y for x, y in bands[0] if x == 2.0)
    np.testing.assert_allclose([heights[0], heights[-1]], [np.mean(values) - half, np.mean(values) + half])
    words = {"std": "mean ± std over 3 seeds", "sem": "mean ± std error over", "ci": "mean ± 95 % interval over"}
    assert words[spread] in style.caption_of(figure)


def test_every_seed_is_a_dot():
    table = methods()
    figure = plots.curve(frame_of(table), hue="method", seeds=True)
    dots = {
        round(float(y), 12)
        for each in figure.axes[0].get_lines()
        if each.get_gid() == lines.SEEDS
        for y in each.get_ydata()
    }
    assert dots == {round(row["test_accuracy"], 12) for row in table}


@pytest.mark.parametrize("column", ["dataset", "model", "unit", "adjacency", "sampling", "delta", "partition"])
def test_what_may_not_be_compared_gets_panels_of_its_own(column):
    other = {"delta": 1e-6, "unit": "client"}.get(column, "other")
    table = [*methods(), *methods(**{column: other})]
    figure = plots.curve(frame_of(table), hue="method")
    assert len(figure.axes) == 2
    assert len({axes.get_title(loc="left") for axes in figure.axes}) == 2


def test_lines_that_are_told_apart_by_what_decides_their_neighbours_say_so():
    table = [row for row in methods() if row["method"] == "dpsgd"]
    table += [row | {"adjacency": "replace_one"} for row in methods() if row["method"] == "dpftrl"]
    figure = plots.curve(frame_of(table), hue="method")
    assert len(figure.axes) == 1
    assert entries(figure) == ["dpftrl (replace_one)", "dpsgd (zero_out)"]
    assert "zero_out" not in style.caption_of(figure)


def test_a_point_is_the_best_of_those_that_the_figure_does_not_tell_apart_and_it_says_over_what():
    table = [*rows(epsilon=1.0, level=0.6), *rows(epsilon=1.0, level=0.9, learning_rate=0.5), *rows(epsilon=2.0)]
    figure = plots.curve(frame_of(table))
    best = np.mean([row["test_accuracy"] for row in table[3:6]])
    assert line(figure, "DP").get_ydata()[0] == pytest.approx(best)
    assert "each point: best over learning rate" in style.caption_of(figure)
    loss = frame_of([row | {"test_loss": 1 - row["test_accuracy"]} for row in table])
    assert line(plots.curve(loss, y="test_loss"), "DP").get_ydata()[0] == pytest.approx(1 - best)


def test_epsilon_is_never_what_a_point_is_the_best_over():
    table = [row for e in (1.0, 8.0) for c in (0.1, 1.0) for row in rows(epsilon=e, clip_norm=c)]
    figure = plots.curve(frame_of(table), x="clip_norm")
    assert [axes.get_title(loc="left")[-5:] for axes in figure.axes] == ["ε = 1", "ε = 8"]
    told = plots.curve(frame_of(table), x="clip_norm", hue="epsilon")
    assert entries(told) == ["ε = 1", "ε = 8"]


def test_runs_without_privacy_are_a_dotted_line_or_stars():
    table = [*methods(), *rows(epsilon=INF, level=0.95, method="sgd")]
    figure = plots.curve(frame_of(table), hue="method")
    assert entries(figure)[-1] == "non-private"
    level = np.mean([row["test_accuracy"] for row in table[-3:]])
    flat = [
        each for each in figure.axes[0].get_lines() if len(set(each.get_ydata())) == 1 and len(each.get_ydata()) == 2
    ]
    assert [each.get_ydata()[0] for each in flat] == [pytest.approx(level)]
    steps = [row for n in (50, 100) for e in (1.0, INF) for row in rows(epsilon=e, num_steps=n)]
    stars = line(plots.curve(frame_of(steps), x="num_steps"), "non-private")
    assert stars.get_marker() == "*"
    assert list(stars.get_xdata()) == [50, 100]


def test_measured_x_is_a_mean_too_and_no_line_joins_it():
    table = [row | {"wall_seconds": 1.0 + k / 10} for k, row in enumerate(methods())]
    figure = plots.curve(frame_of(table), x="wall_seconds", hue="method")
    dots = line(figure, "dpsgd")
    assert dots.get_linestyle() == "None"
    expected = np.mean([row["wall_seconds"] for row in table if (row["method"], row["epsilon"]) == ("dpsgd", 1.0)])
    assert any(math.isclose(x, expected) for each in figure.axes for dot in each.get_lines() for x in dot.get_xdata())


def test_words_on_the_x_axis_are_places():
    figure = plots.curve(frame_of(methods()), x="method", select="epsilon=1", names={"dpsgd": "DP-SGD"})
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["dpftrl", "DP-SGD"]


def test_points_without_a_value_to_be_told_apart_by_are_left_out_aloud():
    table = [*methods(), *[row | {"method": None} for row in rows(epsilon=4.0)]]
    figure = plots.curve(frame_of(table), hue="method")
    assert "1 points without method left out" in style.caption_of(figure)


@pytest.mark.parametrize(
    ("width", "inches"), [("column", 8.4 / 2.54), ("9cm", 9 / 2.54), ("240pt", 240 / 72.27), ("text", 17.4 / 2.54)]
)
@pytest.mark.parametrize("hue", ["method", ""])
def test_a_file_is_exactly_as_wide_as_it_was_asked_to_be(tmp_path, width, inches, hue):
    write_frame(frame_of(methods()), tmp_path)
    out = tmp_path / "figure.pdf"
    words = ["plot", str(tmp_path), "--y", "test_accuracy", "--width", width, "--out", str(out), "--hue", hue]
    with pytest.raises(SystemExit, match="0"):
        main(words)
    box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", out.read_bytes())
    assert box is not None
    assert float(box[1]) == pytest.approx(72 * inches, abs=0.01)


def of_every_kind(name: str, **named: str) -> list[dict[str, Any]]:
    """Rows that a kind of figure can be drawn of."""
    counts = {"norm_counts_first": [0] * 20 + [9] + [0] * 13, "norm_counts_last": [0] * 10 + [9] + [0] * 23}
    more = {"noise": "gaussian", "noise_multiplier": 2.0, "eval_steps": [10, 20], "eval_signal_to_noise": [0.4, 0.1]}
    more |= {
        "wall_seconds": 1.0,
        "uplink_bytes": 10.0,
        "client_accuracy_mean": 0.8,
        "client_accuracy_p10": 0.6,
        "exposures": [1.0, 5.0],
        "exposures_before": [1.0, 1.5],
        "canary_copies": [1, 16],
        "canary_candidates": 1024,
    } | counts
    table = [
        row
        for e in (1.0, 8.0)
        for c in (0.1, 1.0)
        for n in (10, 50)
        for a in ("fedavg", named.get("algorithm", "scaffold"))
        for g in ("plain", "secure")
        for row in rows(
            epsilon=e,
            clip_norm=c,
            clients_per_round=n,
            num_clients=100,
            algorithm=a,
            aggregation=g,
            unit="client",
            **(more | {k: v for k, v in named.items() if k != "algorithm"}),
        )
    ]
    return [row for row in table if name != "privacy_utility_curve" or row["algorithm"] == "fedavg"]


@pytest.mark.parametrize("name", plots.FIGURES)
def test_every_kind_of_figure_takes_a_width_a_height_and_a_font(name):
    look = look_of("column", "8cm", "serif", 7.0, title=False)
    figure = plots.draw(name, frame_of(of_every_kind(name)), look=look)
    assert (figure.get_figwidth(), figure.get_figheight()) == (look.width, look.height)
    assert style.caption_of(figure)
    with style.styled(look):
        figure.draw_without_rendering()
        outside = [
            text.get_text()
            for axes in figure.axes
            for text in [*_seen(axes), axes.xaxis.label, axes.title]
            if text.get_text() and axes.axison and not _inside(text, figure)
        ]
    assert not outside


LONG = {
    "dataset": "hospital_admissions (winter wards of the north, second release)",
    "model": "my_models.py:WideNetworkWithGroupNorm(depth=16, width=4)",
    "algorithm": "scaffold with control variates of mine (a long name)",
}


def outside(figure: Figure, look: Any) -> list[str]:
    """The words that leave the picture."""
    with style.styled(look):
        figure.draw_without_rendering()
        ticks = [text for axes in figure.axes if axes.axison for text in _seen(axes)]
        unseen = {
            id(tick.label1) for axes in figure.axes for x in (axes.xaxis, axes.yaxis) for tick in x.get_major_ticks()
        }
        free = [text for text in figure.findobj(Text) if text.get_visible() and id(text) not in unseen]
        return [text.get_text() for text in (*ticks, *free) if text.get_text().strip() and not _inside(text, figure)]


@pytest.mark.parametrize(("name", "font"), [*((name, "") for name in plots.FIGURES), ("client_fairness", "mono")])
def test_no_word_of_a_column_wide_figure_leaves_it_however_long_names_are(name, font):
    look = look_of("column", font=font)
    figure = plots.draw(name, frame_of(of_every_kind(name, **LONG)), look=look)
    assert outside(figure, look) == []


@pytest.mark.parametrize("words", [{}, {"hue": "model"}, {"x": "model"}, {"style": "model", "col": "dataset"}])
def test_no_word_of_a_figure_of_ones_own_leaves_it_however_long_names_are(words):
    table = [row | LONG | {"model": model} for row in methods() for model in (LONG["model"], "another " * 8, "m" * 40)]
    look = look_of("column")
    spec = dict(words)
    figure = plots.curve(
        frame_of(table), **spec, width="column", names={"test_accuracy": "accuracy on what was held out " * 3}
    )
    assert outside(figure, look) == []
    axes = figure.axes[0]
    assert axes.get_position().width * figure.get_figwidth() > 1.2  # nor do they squeeze the panel


@pytest.mark.filterwarnings("error")
def test_letters_that_a_font_lacks_are_anothers_or_told_in_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(glyphs, "_families", lambda: ["DejaVu Sans", "STIXGeneral"])
    look = look_of(font="serif")
    for name, is_told in (("\u10d0\u10d1", False), ("\U00012000", True)):  # Georgian, and cuneiform
        figure = plots.curve(frame_of(methods(dataset=name)), hue="method", font="serif")
        plots.save(figure, [tmp_path / "a.png", tmp_path / "a.pdf"], look)
        said = capsys.readouterr().err
        assert (said.count("no font of this machine has") == 1) == is_told
        assert not is_told or (name in said and "--font" in said)


def _seen(axes: Any) -> list[Any]:
    """Labels of the ticks that lie on the axes: others are not drawn."""
    found = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        found += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return found


def _inside(text: Any, figure: Figure) -> bool:
    box = text.get_window_extent()
    return box.x0 > -2 and box.x1 < figure.bbox.x1 + 2


def test_a_saved_figure_is_the_same_bytes_again(tmp_path, capsys):
    write_frame(frame_of(methods()), tmp_path)
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    words = [
        "--hue",
        "method",
        "--width",
        "9cm",
        "--font",
        "serif",
        "--select",
        "epsilon<=8",
        "--name",
        "dpsgd=DP-SGD (ours)",
    ]
    words += ["--spread", "std", "--title", "off", "--seeds"]
    with pytest.raises(SystemExit, match="0"):
        main(["plot", str(tmp_path), *words, "--out", str(first), "--save", str(tmp_path / "f.yaml")])
    assert "caption: digits, mlp, per example: δ=1e-5" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "--spec", str(tmp_path / "f.yaml"), "--out", str(second)])
    assert first.read_bytes() == second.read_bytes()
    with pytest.raises(SystemExit, match="0"):
        main(["plot", "--spec", str(tmp_path / "f.yaml"), "--spread", "none", "--out", str(second)])
    assert first.read_bytes() != second.read_bytes()


def test_every_field_of_a_saved_figure_comes_back(tmp_path):
    spec = Spec(
        "clip_norm", ("test_loss", "test_accuracy"), "method", "model", "dataset", "epsilon<=8", {"a": "b"}, True,
        False, "column", "4cm", "serif", 7.5, False, "sem", 0.9,
    )  # fmt: skip
    assert all(getattr(spec, name) != getattr(Spec(), name) for name in vars(spec))
    assert read_spec(write_spec(spec, tmp_path / "f.yaml", ["a", "b"])) == (spec, ["a", "b"])


def test_two_sweeps_in_one_picture(tmp_path, capsys):
    for sweep, level in (("first", 0.7), ("second", 0.9)):
        for number, epsilon in enumerate((1.0, 8.0)):
            write_job_result(tmp_path / sweep / str(number), rows(epsilon=epsilon, level=level, experiment=sweep), "d")
    folders = [str(tmp_path / "first"), str(tmp_path / "second")]
    with pytest.raises(SystemExit, match="0"):
        main(
            [
                "plot",
                *folders,
                "--hue",
                "sweep",
                "--out",
                str(tmp_path / "both.png"),
                "--save",
                str(tmp_path / "b.yaml"),
            ]
        )
    with pytest.raises(SystemExit, match="1"):
        main(["plot", *folders, "--hue", "sweep"])
    assert "give one, such as --out figures" in capsys.readouterr().err
    from dpjax.results.several import load_all

    figure = plots.curve(load_all(folders), hue="sweep")
    assert len(figure.axes) == 1
    assert entries(figure) == ["first", "second"]


def test_a_file_asked_for_in_several_formats_is_one_of_each_and_told(tmp_path, capsys):
    write_frame(frame_of(methods()), tmp_path)
    with pytest.raises(SystemExit, match="0"):
        main(["plot", str(tmp_path), "--hue", "method", "--out", str(tmp_path / "f" / "a.pdf"), "--format", "png,pdf"])
    files = [tmp_path / "f" / "a.png", tmp_path / "f" / "a.pdf"]
    assert capsys.readouterr().out.split("\n")[:2] == [str(file) for file in files]
    assert [file.read_bytes()[1:4] for file in files] == [b"PNG", b"PDF"]
    assert sorted((tmp_path / "f").iterdir()) == sorted(files)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--x", "epsilonn"], "there is no column epsilonn: did you mean epsilon?"),
        (["--hue", "metod"], "there is no column metod: did you mean method?"),
        (["--y", "method"], "holds no numbers"),
        (["--y", "test_auroc"], "the results have no values in column 'test_auroc'"),
        (["--hue", "compression"], "the results have no values in column 'compression'"),
        (["--select", "epsilon>100", "--hue", "method"], "no row passes 'epsilon>100'"),
        (["--hue", "method", "--width", "9"], "width 9 has no unit: write 9cm"),
        (["--hue", "method", "--width", "wide"], "width 'wide' is no length"),
        (["--hue", "method", "--height", "column"], "height 'column' is no length"),
        (["--hue", "method", "--width", "9ft"], "is in ft, which is not known"),
        (["--hue", "method", "--width", "9m"], "is in m, which is not known"),
        (["--hue", "method", "--width", "1mm"], "give one between 1 and 60 inches"),
        (["--hue", "method", "--font", "Tymes"], "font 'Tymes' is not installed"),
        (["--hue", "method", "--font-size", "100"], "font_size is 100.0: give 3 to 40 points"),
        (
            ["--hue", "method", "--spread", "sd"],
            "spread sd is not known: choose one of std, ci, sem, none, perhaps std",
        ),
        (["--hue", "method", "--confidence", "95"], "confidence is 95.0: give a number between 0 and 1"),
        (["--hue", "method", "--title", "maybe"], "--title maybe is neither on nor off"),
        (["--hue", "method", "--format", "gif"], "--format gif is not known"),
        (["--hue", "method", "--out", "x.gif"], "--out x.gif ends in .gif"),
        (["--hue", "method", "--out", "x.pdf", "--format", "png"], "--out x.pdf and --format png differ"),
        (["--hue", "method", "--out", "x.pdf", "--format", "png,svg"], "--out x.pdf and --format png,svg differ"),
        (["--hue", "method", "--name", "dpsgd"], "--name dpsgd is no name"),
        (["--hue", "method", "--figure", "pareto_front"], "--figure pareto_front has its own axes"),
        (["--y", "test_accuracy", "--metric", "test_loss"], "give --y alone"),
        (["--out", "x.pdf"], "--out x.pdf is one file"),
        (["--save", "x.yaml"], "--save goes with a figure of one's own"),
        (["--spec", "/nowhere"], "--spec /nowhere cannot be read"),
        (["--hue", "seed", "--select", "epsilon=1"], ""),
    ],
)
def test_what_is_refused_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch, words, sentence):
    monkeypatch.chdir(tmp_path)
    write_frame(frame_of(methods()), tmp_path)
    with pytest.raises(SystemExit, match="1" if sentence else "0"):
        main(["plot", str(tmp_path), *words])
    assert sentence in capsys.readouterr().err
    if sentence:
        assert not list(tmp_path.glob("**/*.p[nd][gf]"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("hoe: method", "has a field hoe, which no figure has: did you mean hue?"),
        ("- a", "holds no fields"),
        ("hue: [a", "is no YAML"),
        ("hue: [a, b]", "has hue: ['a', 'b']"),
        ("seeds: 3", "has seeds: 3"),
        ("y: []", "has y: []"),
        ("names: a", "has names: 'a'"),
        ("confidence: yes", "has confidence: True"),
        ("results: 3", "has results: 3"),
    ],
)
def test_a_wrong_spec_is_told(tmp_path, text, sentence):
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ResultsError, match=re.escape(sentence)):
        read_spec(tmp_path / "f.yaml")


def test_too_many_lines_are_refused():
    table = [row | {"note": f"n{k}"} for k, row in enumerate(methods() * 2)]
    with pytest.raises(ResultsError, match="note has 36 values: choose a column with at most 30"):
        plots.curve(frame_of(table), hue="note")


def test_timing_noise_decides_no_front():
    points = np.array([[-0.9, 1.0, 10.0], [-0.9, 1.0, 10.5], [-0.9, 1.0, 20.0], [-0.8, 1.0, 9.9]])
    doubt = np.array([[0, 0, 0.5]] * 4)
    assert undominated(points).tolist() == [True, False, False, True]
    assert undominated(points, doubt).tolist() == [True, True, False, False]


def test_the_pareto_front_of_runs_of_one_speed_ranks_none_by_it():
    same = [row | {"wall_seconds": 2.0 + 0.01 * row["seed"] + 0.02 * k} for k, e in enumerate((1.0, 1.0, 8.0))
            for row in rows(epsilon=e, seeds=2, level=0.8, learning_rate=float(k))]  # fmt: skip
    same = [row | {"test_accuracy": 0.8 + row["seed"] / 100} for row in same]
    assert "3 of 3 points are beaten by none" not in style.caption_of(plots.draw("pareto_front", frame_of(same)))
    assert "2 of 3 points are beaten by none" in style.caption_of(plots.draw("pareto_front", frame_of(same)))


@pytest.mark.parametrize("column", ["method", "noise", "tuning", "lab"])
def test_what_a_point_is_the_best_over_is_said_of_every_column(column):
    table = [row for word in ("a", "b") for e in (1.0, 8.0) for row in rows(epsilon=e, **{column: word})]
    words = f"each point: best over {column}"
    assert words in style.caption_of(plots.curve(frame_of(table)))
    assert words in style.caption_of(plots.curve(frame_of(table), x="clip_norm"))
    assert words not in style.caption_of(plots.curve(frame_of(table), hue=column))
    both = [
        row | {"clip_norm": clip, "config_hash": f"{clip}{row['config_hash']}"} for clip in (0.1, 1.0) for row in table
    ]
    assert words in style.caption_of(plots.draw("privacy_utility_curve", frame_of(both)))


def test_what_the_line_without_privacy_is_the_best_over_is_said():
    table = [*rows(epsilon=1.0), *rows(epsilon=INF, method="a", level=0.9), *rows(epsilon=INF, method="b", level=0.8)]
    assert "non-private: best over method" in style.caption_of(plots.curve(frame_of(table)))


def test_an_epsilon_that_is_not_the_one_asked_for_is_told():
    table = [row | {"epsilon_pld": INF} for row in methods()]
    told = "The ε computed of 6 of 6 points is above the one asked for, by up to ∞"
    assert told in style.caption_of(plots.curve(frame_of(table), hue="method"))
    clips = [row | {"clip_norm": c, "config_hash": f"{c}{row['config_hash']}"} for c in (0.1, 1.0) for row in table]
    assert "is above the one asked for, by up to ∞" in style.caption_of(
        plots.draw("privacy_utility_curve", frame_of(clips))
    )


def test_what_went_wrong_and_whose_the_rows_are_is_told():
    table = [row | {"overflow_count": 2, "owners": 40, "rows_per_owner": 3} for row in methods()]
    caption = style.caption_of(plots.curve(frame_of(table), hue="method"))
    assert "36 steps overflowed their slots" in caption
    assert "rows belong to 40 owners, up to 3 to one, and ε is for one example" in caption


def test_points_without_a_number_in_every_seed_are_told():
    table = methods()
    table[0] = table[0] | {"test_accuracy": math.nan}
    table[-1] = table[-1] | {"test_accuracy": math.inf}
    caption = style.caption_of(plots.curve(frame_of(table), hue="method"))
    assert "2 points have no finite test accuracy in every seed, and are not drawn" in caption


def test_diverged_runs_are_counted_of_what_is_drawn():
    table = [
        *methods(),
        *[row | {"diverged": True} for row in rows(epsilon=1.0, method="dpsgd", level=0.1, learning_rate=9.0)],
    ]
    assert "diverged" not in style.caption_of(plots.curve(frame_of(table), hue="method"))


def test_a_band_does_not_run_to_a_point_of_one_seed():
    table = [*rows(epsilon=1.0), *rows(epsilon=2.0), *rows(seeds=1, epsilon=8.0)]
    bands = [path.vertices for band in plots.curve(frame_of(table)).axes[0].collections for path in band.get_paths()]
    assert max(x for x, _ in bands[0]) == 2.0


def test_signs_of_a_formula_are_signs():
    table = [row for word in ("$\\frac{$", "a$b", "c^_") for row in rows(epsilon=1.0, method=word)]
    figure = plots.curve(frame_of(table), x="method", title=False)
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["\\$\\frac{\\$", "a\\$b", "c^_"]
    with style.styled():
        figure.draw_without_rendering()


def test_words_with_numbers_are_in_the_order_of_these():
    table = [row for word in ("v1", "v10", "v2") for row in rows(epsilon=1.0, method=word)]
    figure = plots.curve(frame_of(table), x="method")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["v1", "v2", "v10"]


@pytest.mark.parametrize("many", [4, 9])
def test_a_column_is_as_high_as_its_legend_and_notes_need(many, recwarn):
    table = [row for m in range(many) for e in (1.0, 8.0, INF) for row in rows(epsilon=e, method=f"method number {m}")]
    figure = plots.curve(frame_of(table), hue="method", width="column")
    style.rendered(figure, ["pdf"])
    assert not [str(each.message) for each in recwarn if "layout" in str(each.message)]
    (axes,) = figure.axes
    assert axes.get_position().height * figure.get_figheight() > 1.2
    assert axes.get_position().width * figure.get_figwidth() > 2.0


def test_long_names_are_folded_into_the_legend():
    table = [row for word in ("long " * 30, "short") for e in (1.0, 8.0) for row in rows(epsilon=e, method=word)]
    figure = plots.curve(frame_of(table), hue="method", width="column")
    with style.styled():
        figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_lists_are_no_axis_and_a_result_is_no_place_to_save_to(tmp_path, capsys):
    table = [row | {"widths": [1, 2]} for row in methods()]
    with pytest.raises(ResultsError, match="column 'widths' holds lists"):
        plots.curve(frame_of(table), hue="widths")
    write_frame(frame_of(methods()), tmp_path)
    before = (tmp_path / "results.json").read_bytes()
    with pytest.raises(SystemExit, match="1"):
        main(["plot", str(tmp_path), "--hue", "method", "--save", str(tmp_path / "results.json")])
    assert "is there and no YAML file" in capsys.readouterr().err
    assert (tmp_path / "results.json").read_bytes() == before


@pytest.mark.parametrize(("metric", "best"), [("test_accuracy", 0.8), ("test_loss", 0.5)])
def test_a_mean_that_is_no_number_is_not_the_best(metric, best):
    values = [math.inf, 0.8, 0.5, -math.inf, math.nan]
    points = pd.DataFrame({"epsilon": [1.0] * 5, f"{metric}_mean": values})
    assert best_per(points, ["epsilon"], metric)[f"{metric}_mean"].tolist() == [best]
    assert list(best_per(points, ["epsilon"], metric).columns) == list(points.columns)
