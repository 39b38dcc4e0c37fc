"""Figures that are there stay; what is not what would be drawn is drawn anew."""

import contextlib
import io
import json
import math
import re
import shutil
import zlib
from pathlib import Path

import pytest
from fontTools import subset
from fontTools.ttLib import TTFont

from dpjax.results import write_job_result
from experiments import finish, plots
from experiments.config import Config
from experiments.figures import drawn, style
from experiments.figures.embedding import LAYOUT
from experiments.figures.look import look_of
from experiments.progress import Progress, counted

INF = float("inf")
FIGURES_OF_BOTH = ("privacy_utility_curve", "accuracy_by_clients")
CURVES = ["privacy_utility_curve", "privacy_utility_curve_federated"]


def rows(epsilon: float, accuracy: float = 0.9, clients: int | None = None) -> list[dict]:
    """One run, central or of a federation."""
    shared = {"experiment": "t", "dataset": "digits", "model": "mlp", "delta": 1e-5, "adjacency": "zero_out"}
    return [
        shared
        | {
            "unit": "client" if clients else "example", "clients_per_round": clients, "epsilon": epsilon, "seed": 0,
            "config_hash": f"{epsilon}-{clients}", "test_accuracy": accuracy, "test_loss": 1 - accuracy,
        }
    ]  # fmt: skip


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Two curves, of which the federated one has a line per number of clients; drawn as PNG."""
    for epsilon in (1.0, 2.0):
        write_job_result(tmp_path / f"central {epsilon}", rows(epsilon), "d")
        for clients in (10, 50):
            write_job_result(tmp_path / f"federated {epsilon} {clients}", rows(epsilon, clients=clients), "d")
    plot(tmp_path)
    return tmp_path


def plot(
    folder: Path, *, figures=("privacy_utility_curve",), formats=("png",), metric: str = "test_accuracy", look=None
) -> plots.Drawn:
    return plots.plot_all(folder, figures=figures, formats=formats, metric=metric, look=look)


@pytest.fixture
def charts(sweep, monkeypatch) -> list[int]:
    """The number of rows of each chart that is drawn from now on."""
    seen = []
    draw = plots.draw

    def seen_draw(name, df, metric="test_accuracy", look=None):
        seen.append(len(df))
        return draw(name, df, metric, look)

    monkeypatch.setattr(plots, "draw", seen_draw)
    return seen


def files(sweep: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (sweep / "figures").glob("*.png")}


def test_what_is_there_is_not_drawn_and_is_named_all_the_same(sweep, charts):
    paths = [sweep / "figures" / f"{name}.png" for name in CURVES]
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert plot(sweep).paths == paths
    assert charts == []
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_why_a_figure_is_not_there_is_remembered_too(sweep, charts):
    first = plot(sweep, figures=[])
    assert charts
    assert first.skipped
    charts.clear()
    assert plot(sweep, figures=[]) == first._replace(new=[])
    assert charts == []


def test_new_rows_draw_the_figures_that_show_them_and_no_other(sweep, charts):
    old = files(sweep)
    write_job_result(sweep / "central 8", rows(8.0), "d")
    plot(sweep)
    assert charts == [3]
    new = files(sweep)
    assert [new[f"{name}.png"] == old[f"{name}.png"] for name in CURVES] == [False, True]


def test_a_number_that_changed_in_its_last_digit_draws_anew(sweep, charts):
    write_job_result(sweep / "central 1.0", rows(1.0, accuracy=0.9000000000000001), "d")
    plot(sweep)
    assert charts == [2]


def test_another_metric_is_another_figure(sweep, charts):
    of_accuracy = files(sweep)
    plot(sweep, metric="test_loss")
    assert len(charts) == 2
    assert files(sweep) != of_accuracy
    plot(sweep)
    assert len(charts) == 4
    assert files(sweep) == of_accuracy


def test_another_format_is_added_and_the_file_of_before_stays(sweep, charts):
    png = sweep / "figures" / "privacy_utility_curve.png"
    before = png.stat().st_mtime_ns
    assert (sweep / "figures" / "privacy_utility_curve.svg") in plot(sweep, formats=["png", "svg"]).paths
    assert png.stat().st_mtime_ns == before
    charts.clear()
    plot(sweep, formats=["svg", "png"])
    assert charts == []


def test_a_format_that_is_not_asked_for_is_kept_up_all_the_same(sweep, charts):
    plot(sweep, formats=["svg"])
    svg = sweep / "figures" / "privacy_utility_curve.svg"
    old = svg.read_bytes()
    write_job_result(sweep / "central 8", rows(8.0), "d")
    plot(sweep)
    assert svg.read_bytes() != old
    of_accuracy = svg.read_bytes()
    plot(sweep, metric="test_loss")
    assert svg.read_bytes() != of_accuracy
    charts.clear()
    assert plot(sweep, formats=["svg"], metric="test_loss").new == []
    assert charts == []


def test_a_figure_that_the_rows_have_nothing_for_any_more_is_removed(sweep):
    plot(sweep, figures=[])
    names = {path.name for path in (sweep / "figures").iterdir()}
    for folder in sweep.glob("federated*"):
        shutil.rmtree(folder)
    drawn_now = plot(sweep, figures=[])
    gone = {path.name for path in drawn_now.removed}
    assert "privacy_utility_curve_federated.png" in gone
    assert "privacy_utility_curve.png" not in gone
    assert {path.name for path in (sweep / "figures").iterdir()} == names - gone
    assert plot(sweep, figures=[]).removed == []


def test_a_figure_that_somebody_edited_or_that_was_not_asked_for_is_not_removed(sweep):
    edited = sweep / "figures" / "privacy_utility_curve_federated.png"
    edited.write_bytes(b"mine")
    for folder in sweep.glob("federated*"):
        shutil.rmtree(folder)
    assert plot(sweep, figures=["privacy_utility_curve"]).removed == []
    assert plot(sweep, figures=[]).removed == []
    assert edited.read_bytes() == b"mine"


def test_what_another_process_puts_there_meanwhile_is_not_taken_for_ones_own(sweep, charts, monkeypatch):
    png = sweep / "figures" / "privacy_utility_curve.png"
    old = png.read_bytes()
    write_job_result(sweep / "central 8", rows(8.0), "d")
    write = plots.write_atomically

    def written_over(path, content):
        write(path, content)
        png.write_bytes(old)  # by one that has read the rows before

    with monkeypatch.context() as patch:
        patch.setattr(plots, "write_atomically", written_over)
        plot(sweep, formats=["png", "pdf"])
    assert png.read_bytes() == old
    plot(sweep, formats=["png", "pdf"])
    assert png.read_bytes() != old


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9] + b"123456789")])
def test_a_file_that_is_gone_or_damaged_is_drawn_anew(sweep, charts, spoil):
    whole = files(sweep)
    spoil(sweep / "figures" / "privacy_utility_curve_federated.png")
    plot(sweep)
    assert charts == [4]
    assert files(sweep) == whole


def test_other_code_draws_anew(sweep, charts, monkeypatch):
    monkeypatch.setattr(drawn, "_code", lambda: "another")
    plot(sweep)
    assert len(charts) == 2
    plot(sweep)
    assert len(charts) == 2


def test_every_module_and_every_package_that_draws_is_of_the_code(monkeypatch):
    code = drawn._code.__wrapped__
    before = code()
    assert before == code() == drawn._code()
    read = Path.read_bytes
    for name in ("experiments/figures/style.py", "dpjax/results/summarize.py", "dpjax/accounting/spending.py"):
        with monkeypatch.context() as patch:
            edited = [path for path in (Path(drawn.__file__).parents[2] / name,) if path.is_file()]
            assert edited, name
            patch.setattr(Path, "read_bytes", lambda path, e=edited: read(path) + b"#" * (path in e))
            assert code() != before
    monkeypatch.setattr(drawn, "version", lambda package: "0")
    assert code() != before


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"\xff", b"[]", b"3", b"[" * 10**5, b'{"privacy_utility_curve": 1}',
        b'{"privacy_utility_curve": {"inputs": "a"}}', b'{"privacy_utility_curve": {"inputs": 1, "files": {}}}',
        b'{"privacy_utility_curve": {"inputs": "a", "files": {".png": 3}}}',
        b'{"privacy_utility_curve": {"inputs": "a", "files": {}, "more": "b"}}',
    ],
)  # fmt: skip
def test_without_a_sound_record_all_is_drawn_anew(sweep, charts, content):
    whole = files(sweep)
    record = sweep / "figures" / drawn.FILE
    record.unlink() if content is None else record.write_bytes(content)
    assert len(plot(sweep).paths) == 2
    assert len(charts) == 2
    assert files(sweep) == whole
    plot(sweep)
    assert len(charts) == 2


def test_no_record_vouches_for_a_file_that_is_not_there(sweep, charts):
    record = sweep / "figures" / drawn.FILE
    content = json.loads(record.read_bytes())
    content["privacy_utility_curve"]["files"][".png"] = ""
    record.write_text(json.dumps(content))
    (sweep / "figures" / "privacy_utility_curve.png").unlink()
    plot(sweep)
    assert charts == [2]


def test_where_no_record_can_be_written_the_figures_are_drawn_all_the_same(sweep, charts):
    record = sweep / "figures" / drawn.FILE
    record.unlink()
    record.mkdir()
    assert len(plot(sweep).paths) == 2
    plot(sweep)
    assert len(charts) == 4


def test_an_interrupted_drawing_goes_on_where_it_was(tmp_path, sweep, charts, monkeypatch):
    out, drawn = tmp_path / "out", []
    draw = plots.draw

    def interrupted(name, df, metric="test_accuracy", look=None):
        if drawn:
            raise KeyboardInterrupt
        drawn.append(name)
        return draw(name, df, metric, look)

    monkeypatch.setattr(plots, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plots.plot_all(sweep, out, figures=["privacy_utility_curve"], formats=["png"])
    whole = {path: path.read_bytes() for path in out.glob("*.png")}
    assert len(whole) == 1
    monkeypatch.setattr(plots, "draw", draw)
    again = plots.plot_all(sweep, out, figures=["privacy_utility_curve"], formats=["png"])
    assert len(again.paths) == 2
    assert again.new == [path for path in again.paths if path not in whole]
    assert all(path.read_bytes() == content for path, content in whole.items())


def test_what_two_drawings_at_once_write_down_is_both_theirs(tmp_path, sweep, monkeypatch):
    out, draw = tmp_path / "out", plots.draw

    def beside_another(name, df, metric="test_accuracy", look=None):
        monkeypatch.setattr(plots, "draw", draw)
        plots.plot_all(sweep, out, figures=["accuracy_by_clients"], formats=["png"])  # as another process would
        plots.plot_all(sweep, out, figures=["privacy_utility_curve"], formats=["svg"])
        return draw(name, df, metric, look)

    monkeypatch.setattr(plots, "draw", beside_another)
    plots.plot_all(sweep, out, figures=["privacy_utility_curve"], formats=["png"])
    there = drawn.read_drawn(out)
    assert set(there) == {*CURVES, "accuracy_by_clients"}
    assert set(there["privacy_utility_curve"].files) == {".png", ".svg"}
    assert plots.plot_all(sweep, out, figures=[*FIGURES_OF_BOTH], formats=["png"]).new == []


def test_what_was_removed_meanwhile_and_what_was_drawn_anew_are_told_apart():
    one, other = drawn.OnDisk("a", {".png": "1"}), drawn.OnDisk("b", {".png": "2"})
    assert drawn._merged({"x": one, "y": other}, {"x": one}, {}) == {"y": other}
    assert drawn._merged({"x": other}, {"x": one}, {}) == {"x": other}
    assert drawn._merged({}, {"x": one}, {"x": one, "y": other}) == {"x": one, "y": other}


def test_how_many_figures_are_drawn_is_told_before_the_first_and_after_each(sweep):
    told = []
    plots.plot_all(sweep, metric="test_loss", figures=["privacy_utility_curve"], tell=lambda *each: told.append(each))
    assert told == [(0, 2), (1, 2), (2, 2)]
    plots.plot_all(sweep, metric="test_loss", figures=["privacy_utility_curve"], tell=lambda *each: told.append(each))
    assert len(told) == 3


def test_a_sweep_says_which_figures_it_drew_and_how_many_it_kept(sweep, capsys):
    finish._figures(sweep, Config())
    first = capsys.readouterr().out
    assert f"Figure:  {sweep / 'figures' / 'accuracy_by_clients.png'}" in first
    assert "Kept:    2 figures show these very results already" in first  # the curves, as the fixture drew them
    finish._figures(sweep, Config())
    again = capsys.readouterr().out
    assert "Figure:" not in again
    number = first.count("Figure:") + 2
    assert f"Kept:    {number} figures show these very results already, in {sweep / 'figures'}" in again


def test_figures_that_a_sweep_leaves_are_said_to_be_of_before(sweep, capsys):
    note = f"note: the figures in {sweep / 'figures'} are of before"
    finish._figures(sweep, Config(figures=False))
    assert capsys.readouterr().err.count(note) == 1
    for path in (sweep / "figures").iterdir():
        path.unlink()
    finish._figures(sweep, Config(figures=False))
    assert "figures" not in capsys.readouterr().err


def test_where_there_is_no_terminal_a_line_says_now_and_then_how_many_are_done(capsys, monkeypatch):
    monkeypatch.setattr("experiments.progress._EVERY_FEW", 0.0)
    with counted("figures") as tell:
        for done in range(4):
            tell(done, 3)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" after")[0] for line in lines] == ["figures: 1 of 3", "figures: 2 of 3"]


def test_a_line_names_the_stage_that_took_the_time(capsys, monkeypatch):
    clock = iter([0.0, 0.5, 14.0, 15.0, 26.0])
    monkeypatch.setattr("experiments.progress.time.monotonic", lambda: next(clock))
    progress = Progress(26)
    progress.tell("starting", 0, 1)
    progress.tell("calibrating noise", 1, 5)
    progress.tell("training", 0, 9)
    progress.tell("training", 3, 9)
    assert capsys.readouterr().err.splitlines() == [
        "0 of 26 jobs ended after 14 s (most of it: starting); calibrating noise, 1 of 5.",
        "0 of 26 jobs ended after 26 s; training, 3 of 9.",
    ]


def test_another_look_is_another_figure(sweep, charts):
    usual = files(sweep)
    plot(sweep, look=look_of("column"))
    assert len(charts) == 2
    narrow = files(sweep)
    assert all(narrow[name] != usual[name] for name in usual)
    plot(sweep, look=look_of("column"))
    assert len(charts) == 2


def test_a_line_says_what_is_left_and_what_was_best(capsys, monkeypatch):
    clock = iter([0.0, 5.0, 5.0, 40.0, 40.0])
    monkeypatch.setattr("experiments.progress.time.monotonic", lambda: next(clock))
    progress = Progress(6)
    progress.skipped("privacy.epsilon=inf", [{"epsilon": math.inf, "test_accuracy": 0.9}])
    progress.group(1, 1, 5)
    progress.tell("training", 0, 5)
    progress.finished("privacy.epsilon=2", [{"epsilon": 2.0, "test_accuracy": value} for value in (0.5, 0.7)])
    progress.finished("privacy.epsilon=1", [{"epsilon": 1.0, "test_accuracy": 0.4}])
    progress.finished("privacy.epsilon=8", [{"epsilon": 8.0, "test_accuracy": 0.8, "diverged": True}])
    progress.failed("privacy.epsilon=9", ValueError("no."))
    progress.tell("training", 4, 5)
    assert capsys.readouterr().err.splitlines()[2:] == [
        "5 of 6 jobs ended after 40 s, about 9 s left; training, 4 of 5. Best so far: test accuracy 0.600 at ε=2: "
        "privacy.epsilon=2"
    ]


def made_up_sweep(groups, jobs, once, each, tell_left, clock):
    """A sweep of so many programs on a clock of its own: what was told to be left, and what was, by seconds gone."""
    progress = Progress(groups * jobs, tell_left=tell_left)
    for number in range(1, groups + 1):
        progress.group(number, groups, jobs)
        progress.tell("compiling", 0, 1)
        clock[0] += once
        progress.tell("training", 0, 2 * jobs)  # of two seeds
        for done in range(1, 2 * jobs + 1):
            clock[0] += each / 2
            progress.tell("training", done, 2 * jobs)
            if done % 2 == 0:
                progress.finished()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("once", "each"), [(60.0, 3.0), (0.0, 10.0), (600.0, 60.0)])
def test_what_is_left_counts_the_compilation_of_a_program_once(groups, once, each, monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr("experiments.progress.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("experiments.progress._EVERY", 0.0)
    made_up_sweep(groups, 10, once, each, lambda seconds: told.append((clock[0], seconds)), clock)
    end = groups * (once + 10 * each)
    assert told[0][0] == once + each / 2  # known from the first seed on
    assert len(told) >= 19
    for at, seconds in told:
        assert seconds == pytest.approx(end - at, rel=1e-6)


def test_what_failed_before_it_trained_takes_no_time(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr("experiments.progress.time.monotonic", lambda: clock[0])
    progress = Progress(8, tell_left=told.append)
    progress.failed("a=1", ValueError("no field."))
    progress.skipped()
    progress.group(1, 1, 6)
    progress.failed("a=2", ValueError("too small."))
    clock[0] = 50.0
    progress.tell("training", 0, 5)
    clock[0] = 60.0
    progress.tell("training", 1, 5)
    assert told == [40.0]


def test_the_bars_on_a_terminal_have_the_best_below_them():
    progress = Progress(2)
    progress.finished("privacy.epsilon=1", [{"epsilon": 1.0, "validation_accuracy": 0.25, "test_accuracy": 0.5}])
    shown = [str(each) for each in progress._bar.get_renderables()]
    assert shown[-1] == "Best so far: validation accuracy 0.250 at ε=1: privacy.epsilon=1"


def embedded_fonts(content):
    """The fonts within a PDF file."""
    for each in re.finditer(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        with contextlib.suppress(zlib.error):
            stream = zlib.decompress(each[1])
            if stream[:4] in (b"\0\1\0\0", b"true"):
                yield TTFont(io.BytesIO(stream))


def test_fonts_in_a_pdf_hold_their_outlines_and_nothing_of_layout():
    """Whose tables took most of the time of a file; all others, and every glyph, are as matplotlib embeds them."""

    def fonts(how):
        figure, (axes,) = style.panels(1)
        axes.set_title("ε = 1, fi ffl AV")
        axes.set_xlabel("$x^2$")
        with how():
            return list(embedded_fonts(style.rendered(figure, ["pdf"])["pdf"]))

    @contextlib.contextmanager
    def as_ever():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(style, "without_layout", contextlib.nullcontext)
            yield

    lean, whole = fonts(contextlib.nullcontext), fonts(as_ever)
    assert len(lean) == len(whole) >= 2
    for ours, theirs in zip(lean, whole, strict=True):
        assert not set(LAYOUT) & set(ours.keys())
        assert set(theirs.keys()) - set(ours.keys()) <= set(LAYOUT)
        glyphs = set(ours.getGlyphOrder())
        assert glyphs <= set(theirs.getGlyphOrder())  # theirs has ligatures too, which no text refers to
        for name in glyphs:
            assert ours["glyf"][name].compile(ours["glyf"]) == theirs["glyf"][name].compile(theirs["glyf"])
            assert ours["hmtx"][name] == theirs["hmtx"][name]
    assert any(set(LAYOUT) & set(theirs.keys()) for theirs in whole)
    assert "GSUB" not in subset.Options._drop_tables_default
