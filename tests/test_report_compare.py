"""The report's points, charts, addresses and comparisons: of one sweep, and of several on one page."""

import json
import math
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from dpjax.report.packing import pack
from dpjax.report.page import render
from dpjax.report.several import gather_several
from dpjax.results.several import names_of
from tests import test_report as made

browser, visit = made.browser, made.visit
EVIL, row, write, report, shown, data_of = (
    made.EVIL,
    made.row,
    made.write,
    made.report,
    made.shown,
    made.data_of,
)
KINDS = ("curve", "heat", "pareto", "parallel")


def page_of(path: Path, *folders: Path) -> Path:
    path.write_text(render(pack(gather_several(folders), "2026-01-01T00:00:00+00:00")))
    return path


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """The report of 20 points of two seeds: ε, two clip norms, two learning rates."""
    folder = tmp_path_factory.mktemp("points") / "made_up"
    made.grid(folder, (0.5, 1, 2, 8, math.inf), (0.3, 1), (0.05, 0.2), 2)
    return page_of(folder.parent / "report.html", folder)


def two_sweeps(tmp_path: Path, **more) -> tuple[Path, Path]:
    """Sweeps of one problem that differ in name, and in where the second is as ``more`` says."""
    first, second = tmp_path / "before", tmp_path / "after"
    for folder, change in ((first, {}), (second, {"test_accuracy": 0.5, **more})):
        for epsilon in (1, 8, math.inf):
            write(folder, [row(epsilon, 0.3, seed) | {"experiment": folder.name, **change} for seed in range(2)])
    return first, second


def cell(page, name: str, place: int = 0) -> str:
    return page.evaluate(
        """([name, place]) => {
          const at = [...document.querySelectorAll('.runs thead th')].findIndex((th) => th.dataset.column === name);
          const rows = [...document.querySelectorAll('.runs tbody tr')].filter((r) => !r.hidden);
          return rows[place].children[at].textContent;
        }""",
        [name, place],
    )


def test_the_table_opens_with_points_means_intervals_and_bands(visit, page_file):
    page = visit(page_file)
    assert page.get_by_role("status").inner_text() == "20 points"
    page.get_by_label("Filter").fill("epsilon=2 clip_norm=0.3 learning_rate=0.2")
    assert page.get_by_role("status").inner_text() == "1 of 20 points"
    values = [row(2, 0.3, seed, 0.2)["test_accuracy"] for seed in range(2)]
    mean, std = np.mean(values), np.std(values, ddof=1)
    half = 12.706 * std / math.sqrt(2)
    assert cell(page, "test_accuracy") == f"{mean:.3f} ± {std:.3f}"
    assert cell(page, "test_accuracy.ci") == f"{mean - half:.3f} … {mean + half:.3f}"
    assert cell(page, "test_accuracy.band") == f"{mean - std:.3f} … {mean + std:.3f}"
    assert cell(page, "n") == "2"
    page.locator(".runs tbody tr:visible td").last.click()
    page.wait_for_selector("#run-title")
    assert "seed 0" in page.locator("#run-title").inner_text()
    assert page.locator("#run a", has_text="seed 1").count() == 1
    page.go_back()
    page.get_by_role("button", name="runs", exact=True).click()
    assert page.get_by_role("status").inner_text() == "2 of 40 runs"


def test_quantiles_of_student_are_those_of_the_tables(visit, page_file):
    page = visit(page_file)
    script = page.locator("script[type=module]").text_content()
    start = script.index("const STUDENT")
    function = script[start : script.index("// Half the width")]
    found = page.evaluate(f"(() => {{ {function}; return [1, 4, 10, 11, 29, 99].map(student); }})()")
    assert found == pytest.approx([12.7062, 2.7764, 2.2281, 2.2010, 2.0452, 1.9842], abs=1e-3)


def test_points_are_sorted_and_their_columns_chosen(visit, page_file):
    page = visit(page_file)
    page.locator("th[data-column=test_accuracy] button").click()
    means = [float(cell(page, "test_accuracy", i).split()[0]) for i in range(20)]
    assert means == sorted(means)
    assert means != sorted(means, reverse=True)
    page.locator("#columns summary").click()
    page.get_by_label("seconds, 95 % CI", exact=True).check()
    assert "…" in cell(page, "wall_seconds.ci")
    page.get_by_label("Metric").select_option("test_loss")
    assert page.locator("th[data-column='test_loss.ci']").count() == 0  # what was chosen stays


def test_an_address_opens_the_same_view_and_back_from_a_run_too(visit, page_file):
    page = visit(page_file)
    page.get_by_label("Filter").fill("epsilon<=8 made_up 100%")
    page.get_by_label("Filter").fill("epsilon<=8 test_accuracy<1")
    page.get_by_label("Metric").select_option("test_loss")
    page.locator("#curves select").first.select_option("learning_rate")
    page.get_by_role("button", name="runs", exact=True).click()
    page.locator("th[data-column=test_loss] button").click()
    page.locator("th[data-column=test_loss] button").click()
    page.locator("#columns summary").click()
    page.get_by_label("learning rate", exact=True).uncheck()
    address = page.url
    assert (
        unquote(address).partition("#")[2].startswith("filter=epsilon<=8 test_accuracy<1&metric=test_loss&show=runs&")
    )
    assert "sort=-test_loss&lines=0:learning_rate" in address
    before, table = page.evaluate("history.length"), page.locator(".runs").inner_text()
    again = visit(address)
    assert again.locator(".runs").inner_text() == table
    assert again.get_by_label("Filter").input_value() == "epsilon<=8 test_accuracy<1"
    assert again.locator("#curves select").first.input_value() == "learning_rate"
    assert "test loss" in again.locator("#curves svg text.label").last.text_content()
    again.locator(".runs tbody a:visible").nth(3).click()
    again.wait_for_selector("#run-title")
    assert "#run-" in again.url
    again.go_back()
    assert again.url == address
    assert again.locator(".runs").inner_text() == table
    page.get_by_label("Filter").fill("")
    assert page.evaluate("history.length") == before  # no step of the history for a choice


def test_the_address_of_another_view_replaces_this_one_and_the_link_is_copied(visit, page_file):
    page = visit(f"{page_file.as_uri()}#chart=heat&across=learning_rate&show=runs&nothing=x")
    assert page.get_by_label("Chart").input_value() == "curve"  # no address of a view
    page.evaluate("location.hash = 'filter=epsilon=2&chart=heat&across=learning_rate&down=clip_norm'")
    page.wait_for_function("document.querySelector('#kind').value === 'heat'")
    assert page.get_by_role("status").inner_text() == "4 of 20 points"
    assert page.get_by_label("Across").input_value() == "learning_rate"
    page.evaluate("navigator.clipboard.writeText = async (words) => { window.copied = words; }")
    page.get_by_role("button", name="Copy link").click()
    page.get_by_role("button", name="Copied").wait_for()
    assert "#filter=epsilon=2&chart=heat&across=learning_rate&down=clip_norm" in page.evaluate("window.copied")
    broken = visit(f"{page_file.as_uri()}#filter=100%&sort=nothing&columns=a,b&chart=none&lines=9:x&metric=y")
    assert broken.get_by_label("Filter").input_value() == "100%"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("epsilonn<=8", "there is no column epsilonn: did you mean epsilon?"),
        ("acuracy>0.9", "there is no column acuracy: did you mean test_accuracy?"),
        ("zzzzzzzz=1", "there is no column zzzzzzzz: Columns, beside the filter, lists those there are."),
        ("model<5", "model is text and has no order: compare it by = or !=."),
        ("epsilon<=small", "epsilon is a number, and small is none: give one, such as epsilon<=1."),
        ("epsilon<=", "epsilon<= lacks a value, such as epsilon<=1."),
    ],
)
def test_a_comparison_that_says_nothing_is_answered_and_passed_over(visit, page_file, words, sentence):
    page = visit(page_file)
    page.get_by_label("Filter").fill(f"clip_norm=1 {words}")
    assert page.locator("#filter-said").inner_text().strip() == sentence
    assert page.get_by_role("status").inner_text() == "8 of 20 points"  # the rest of the filter holds
    assert page.locator("#curves .point").count() > 0
    page.get_by_label("Filter").fill("n>=2 privacy.epsilon=2")  # seeds of a point; a word of the overrides
    assert not page.locator("#filter-said").is_visible()
    assert page.get_by_role("status").inner_text() == "4 of 20 points"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_chart_is_told_reached_and_tabulated(visit, page_file, kind):
    page = visit(page_file)
    page.get_by_label("Chart").select_option(kind)
    figure = page.locator("#curves figure")
    assert figure.count() == 1
    drawing = figure.locator(".drawing svg[role=img]")
    assert "test accuracy" in drawing.locator("desc").text_content()
    figure.locator(".point").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    first = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert page.locator("#tip").is_visible()
    page.keyboard.press("ArrowDown" if kind == "heat" else "ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") != first
    assert "test accuracy" in page.locator("#tip").inner_text()
    figure.locator("summary").click()
    figure.locator("details[open] tbody tr").nth(1).wait_for(state="attached")
    assert figure.locator("details[open] caption").text_content()
    page.locator("#curves .point").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#run-title")


def test_a_cell_of_the_heat_map_is_the_best_point_over_what_is_hidden(visit, page_file):
    page = visit(f"{page_file.as_uri()}#chart=heat&across=epsilon&down=clip_norm")
    figure = page.locator("#curves figure")
    assert "the mean over seeds of the best point over learning rate." in figure.inner_text()
    means = [np.mean([row(2, 0.3, seed, rate)["test_accuracy"] for seed in range(2)]) for rate in (0.05, 0.2)]
    found = figure.get_by_role("button", name="ε 2, clip norm 0.3:")
    assert f"test accuracy {max(means):.3f}, the best of 2 points" in found.get_attribute("aria-label")
    assert figure.locator("rect.cell").count() == 8  # without the line without privacy
    page.get_by_label("Filter").fill("epsilon=2 clip_norm=1 learning_rate=0.2")
    assert figure.inner_text().count("needs two settings in numbers") == 1


def front_of(page) -> set[str]:
    labels = page.locator("#curves .point").evaluate_all("(all) => all.map((b) => b.getAttribute('aria-label'))")
    assert labels
    return {label.split(",")[0] for label in labels if label.endswith("on the front")}


def test_timing_noise_does_not_decide_the_pareto_front(visit, tmp_path):
    folder = tmp_path / "made_up"
    # ε: accuracy, seconds of each seed. 2 costs as much as 1 within the noise; 4 is clearly dearer than both.
    told = {1: (0.8, (1.0, 3.0)), 2: (0.8, (1.5, 2.7)), 4: (0.8, (9.0, 9.1)), 8: (0.9, (20.0, 21.0))}
    for epsilon, (accuracy, seconds) in told.items():
        write(
            folder,
            [row(epsilon, 0.3, k) | {"test_accuracy": accuracy, "wall_seconds": s} for k, s in enumerate(seconds)],
        )
    page = visit(f"{page_of(tmp_path / 'report.html', folder).as_uri()}#chart=pareto&cost=wall_seconds")
    assert front_of(page) == {"ε 1", "ε 2", "ε 8"}
    assert page.locator("#curves path.marker.big").count() == 3
    page.get_by_label("Cost").select_option("epsilon")
    assert front_of(page) == {"ε 1", "ε 8"}


def test_parallel_coordinates_have_a_line_for_each_point_and_axes_by_choice(visit, page_file):
    page = visit(f"{page_file.as_uri()}#chart=parallel")
    figure = page.locator("#curves figure")
    assert figure.locator("path.strand").count() == 16
    names = "(all) => all.map((t) => t.textContent)"
    assert figure.locator("text.label").evaluate_all(names) == ["clip norm", "learning rate", "ε", "test accuracy"]
    page.get_by_role("checkbox", name="clip norm", exact=True).first.uncheck()
    assert figure.locator("text.label").evaluate_all(names) == ["learning rate", "ε", "test accuracy"]
    assert "axes=epsilon,learning_rate" in page.url
    colours = figure.locator("path.strand").evaluate_all("(all) => all.map((p) => getComputedStyle(p).stroke)")
    assert len(set(colours)) > 8
    page.emulate_media(color_scheme="dark")
    assert figure.locator("path.strand").evaluate_all("(all) => all.map((p) => getComputedStyle(p).stroke)") != colours


def test_two_sweeps_are_overlaid_and_their_points_told_apart(visit, tmp_path, capsys):
    first, second = two_sweeps(tmp_path)
    made.fail(second / "bad", "model=cnn")
    assert report(first, second, "--out", tmp_path / "both.html") == 1
    assert "after: 1 job failed and has no result." in capsys.readouterr().err
    data = data_of((tmp_path / "both.html").read_text())
    assert [family["title"] for family in data["families"]] == ["digits, mlp, per example"]
    assert (data["count"], data["points"]["count"]) == (12, 6)
    assert sorted(map(len, data["points"]["runs"])) == [2] * 6  # seeds of two sweeps are never one point
    assert data["failures"][0]["experiment"] == "after: made_up"
    page = visit(tmp_path / "both.html")
    assert page.locator("#curves .legend li").all_inner_texts() == ["after", "before"]
    assert {cell(page, "sweep", i) for i in range(6)} == {"before", "after"}
    page.get_by_label("Filter").fill("sweep=after")
    assert page.get_by_role("status").inner_text() == "3 of 6 points"
    assert cell(page, "test_accuracy") == "0.500 ± 0.000"
    assert report(first, second) == 1
    assert capsys.readouterr().out == f"{first / 'report.html'}\n"


@pytest.mark.parametrize("more", [{"dataset": "mnist"}, {"unit": "user"}, {"delta": 1e-6}])
def test_sweeps_that_may_not_be_compared_keep_charts_of_their_own(tmp_path, more):
    data = pack(gather_several(two_sweeps(tmp_path, **more)), "now")
    assert len(data["families"]) == 2


def test_folders_of_one_name_are_told_apart_by_their_paths(tmp_path):
    assert names_of([Path("/a/x/s"), Path("/b/x/s"), Path("/b/t")]) == ["a/x/s", "b/x/s", "t"]
    for parent in ("one", "two"):
        write(tmp_path / parent / "made_up", [row(1, 0.3, 0)])
    folders = [tmp_path / parent / "made_up" for parent in ("one", "two", "one")]
    found = gather_several(folders)
    assert sorted(found.frame["sweep"]) == ["one/made_up", "two/made_up"]
    assert len(found.points) == 2


def test_experiments_within_one_folder_of_several_stay_points_of_their_own(tmp_path):
    first, second = two_sweeps(tmp_path)
    write(first / "other", [row(1, 0.3, 0, experiment="other")])
    data = pack(gather_several([first, second]), "now")
    assert data["points"]["count"] == 7
    assert "experiment" in data["points"]["cells"]


def test_only_one_folder_is_watched(tmp_path, capsys):
    first, second = two_sweeps(tmp_path)
    assert report(first, second, "--watch", "--port", "0") == 1
    said = capsys.readouterr().err
    assert "--watch follows one folder, not 2: give one, or leave --watch out" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("show", ["runs", "points"])
def test_two_are_compared_side_by_side_with_what_differs_marked(visit, page_file, show):
    page = visit(f"{page_file.as_uri()}#show={show}&filter=learning_rate=0.2 epsilon<=1 clip_norm=1")
    button = page.locator("#compare")
    assert button.is_disabled()
    boxes = page.locator(".runs .pick:visible")
    for place in (0, boxes.count() - 1):
        boxes.nth(place).check()
    button.click()
    page.wait_for_selector("#run-title")
    assert f"#compare-{show}-" in page.url
    assert page.locator("#run-title").inner_text() == f"Two {show} compared"
    differing = page.locator("#run .sided").first
    rows = differing.locator("tbody tr").all_inner_texts()
    assert any("≠" in words and "ε" in words and "0.5" in words for words in rows)
    assert not any(words.startswith("clip norm") for words in rows)  # equal, so folded
    page.locator("#run summary", has_text="equal in both").first.click()
    page.locator("#run details[open] tbody tr").first.wait_for(state="attached")
    equal = page.locator("#run details[open] tbody tr").all_inner_texts()
    assert any(words.startswith("clip norm\t=") for words in equal)
    config = page.locator("#run .sided").nth(2)
    assert "privacy.epsilon" in config.inner_text()
    titles = page.locator("#run .chart h3").all_inner_texts()
    assert titles == ["Loss", "Accuracy"]
    accuracy = page.locator("#run .chart").nth(1)
    assert accuracy.locator("path.line").count() == 2 * 2  # and their swatches
    assert accuracy.locator("path.band").count() == (2 if show == "points" else 0)
    address = page.url
    page.go_back()
    assert page.get_by_label("Filter").input_value() == "learning_rate=0.2 epsilon<=1 clip_norm=1"
    assert boxes.first.is_checked()
    assert visit(address).locator("#run-title").inner_text() == f"Two {show} compared"


def test_a_third_tick_takes_away_the_first(visit, page_file):
    page = visit(page_file)
    boxes = page.locator(".runs .pick")
    for place in range(3):
        boxes.nth(place).check()
    assert [boxes.nth(place).is_checked() for place in range(3)] == [False, True, True]


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_no_width_scrolls_the_page_sideways_and_all_can_be_tapped(visit, tmp_path, width):
    page_path = page_of(tmp_path / "report.html", *two_sweeps(tmp_path, clip_norm=0.5))
    page = visit(page_path)
    page.set_viewport_size({"width": width, "height": 900})
    key = page.locator(".pick").first.get_attribute("data-pick")
    other = page.locator(".pick").last.get_attribute("data-pick")
    places = [*(f"chart={kind}" for kind in KINDS), "show=runs", f"run-{key}", f"compare-points-{key},{other}"]
    small = """() => [...document.querySelectorAll('button, select, summary, input[type=search], label:has(input)')]
      .map((n) => [n, n.getBoundingClientRect()])
      .filter(([, box]) => box.width && (box.height < 23.5 || box.width < 23.5))
      .map(([n]) => n.outerHTML.slice(0, 120))"""
    for place in places:
        page.evaluate("(place) => (location.hash = place)", place)
        page.wait_for_timeout(50)
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, place
        assert page.evaluate(small) == [], place


def test_no_text_of_a_result_becomes_markup_in_the_new_parts(visit, tmp_path):
    hostile = tmp_path / EVIL.replace("/", "|")
    other = tmp_path / "100%&show=x,y"
    for k, folder in enumerate((hostile, other)):
        config = json.dumps({EVIL: f"{EVIL}{k}"})
        for epsilon in (1, 8):
            more = {
                "optimizer": f"{EVIL}{epsilon}",
                "model": EVIL,
                "note": EVIL,
                "config": config,
                "learning_rate": k + 1.0,
            }
            write(folder, [row(epsilon, 0.3, seed) | {"config_hash": f"{epsilon}%&,"} | more for seed in range(2)])
    path = page_of(tmp_path / "report.html", hostile, other)
    assert path.read_text().count("</script>") == 2
    page = visit(path)
    for kind in KINDS:
        page.get_by_label("Chart").select_option(kind)
        assert EVIL in page.locator("#curves").inner_text()
        page.locator("#curves .point").first.focus()
        page.keyboard.press("ArrowRight")
        for fold in page.locator("#curves summary").all():
            fold.click()
    page.get_by_label("Filter").fill(f"{EVIL} {EVIL}<=1".replace(" src", "").replace("img", "<img"))
    page.get_by_label("Filter").fill("")
    for place in (0, 2):
        page.locator(".pick").nth(place).check()
    page.locator("#compare").click()
    page.wait_for_selector("#run-title")
    assert EVIL in page.locator("#run").inner_text()
    assert page.locator("img").count() == 0
    again = visit(page.url)
    assert again.locator("#run-title").inner_text() == "Two points compared"
