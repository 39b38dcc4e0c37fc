"""'Better' is said only when it is: against scipy, under the null, with more seeds, and for input that has no pairs."""

import math

import numpy as np
import pytest
from scipy import stats

from dpjax.cli import main
from dpjax.results import ResultsError, write_job_result
from dpjax.results.compare import as_rows, compare, notes
from dpjax.results.summarize import summary
from dpjax.results.table import frame_of
from dpjax.results.verdicts import judged


def runs(side, accuracies, epsilon=1.0, **more):
    shared = {"dataset": "digits", "unit": "example", "delta": 1e-5, "epsilon": epsilon, "algorithm": side}
    shared |= {"config_hash": f"{side}-{epsilon}-{more}"}
    return [shared | more | {"seed": s, "test_accuracy": float(a)} for s, a in enumerate(accuracies)]


def two(a, b, **more):
    return frame_of([*runs("a", a, **more), *runs("b", b, **more)])


A, B = [0.90, 0.91, 0.89, 0.93, 0.90], [0.88, 0.90, 0.88, 0.90, 0.89]


def test_one_pair_is_the_paired_t_test():
    (found,) = compare(two(A, B), "algorithm").differences
    expected = stats.ttest_rel(A, B)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.adjusted_p == found.p
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.verdict == "first"
    assert found.exact_p == pytest.approx(2 / 2**5)


@pytest.mark.parametrize("seeds", [2, 5, 12, 13, 14, 16, 30, 200])
def test_the_sign_flip_test_is_exact_or_errs_on_the_safe_side(seeds):
    rng = np.random.default_rng(seeds)
    for shift in (0.0, 1.0, 50.0):
        a = rng.normal(shift, 1.0, seeds)
        (found,) = judged([({}, "a", "b", a, np.zeros(seeds))], "test_accuracy", 0.05)
        assert found.exact_p >= 2 / 2**seeds
        if seeds <= 13:
            patterns = np.array(np.meshgrid(*[[-1.0, 1.0]] * seeds)).reshape(seeds, -1)
            every = np.abs(patterns.T @ a) >= abs(a.sum()) * (1 - 1e-12)
            assert found.exact_p == pytest.approx(every.mean())
        else:
            assert (found.exact_p < 0.01) == (shift == 50.0) or shift == 1.0


def test_the_sign_flip_test_at_random_keeps_its_level():
    rng, runs, alpha = np.random.default_rng(5), 200, 0.05
    raw = [({}, "a", "b", rng.normal(size=14), np.zeros(14)) for _ in range(runs)]
    low = sum(d.exact_p <= alpha for d in judged(raw, "test_accuracy", 0.05))
    assert 0 < low / runs < alpha + 3 * math.sqrt(alpha * (1 - alpha) / runs)


def test_runs_that_diverged_are_spoken_of():
    rows = [*runs("a", A), *runs("b", B)]
    rows[0] |= {"diverged": True, "test_accuracy": 0.0}
    found = compare(frame_of(rows), "algorithm")
    assert "1 run of those compared diverged" in " ".join(notes(found))
    assert "diverged" not in " ".join(notes(compare(two(A, B), "algorithm")))


def test_rounds_that_were_aborted_are_spoken_of():
    rows = [row | {"num_steps": 10, "aborted_count": 4} for row in two(A, B).to_dict("records")]
    assert "rounds were aborted" in " ".join(notes(compare(frame_of(rows), "algorithm")))


def test_seeds_are_paired_by_number_and_not_by_order():
    shuffled = list(reversed(runs("b", B)))
    (found,) = compare(frame_of([*runs("a", A), *shuffled]), "algorithm").differences
    assert found.p == pytest.approx(stats.ttest_rel(A, B).pvalue)


def test_only_common_seeds_count():
    (found,) = compare(frame_of([*runs("a", A), *runs("b", B[:3])]), "algorithm").differences
    assert found.seeds == 3
    assert found.p == pytest.approx(stats.ttest_rel(A[:3], B[:3]).pvalue)


def test_seeds_that_are_one_run_count_once():
    """Seeds that are equal modulo 2³² train the same model, as results of before may hold."""
    rows = [*runs("a", A), *runs("b", B)]
    again = [row | {"seed": row["seed"] + 2**32 * k} for row in rows for k in (0, 1, 2)]
    (once,), (thrice,) = (compare(frame_of(given), "algorithm").differences for given in (rows, again))
    assert once == thrice
    assert summary(frame_of(again))["n"].tolist() == [5, 5]


def test_of_a_loss_the_lower_is_better():
    frame = frame_of([row | {"test_loss": row["test_accuracy"]} for row in [*runs("a", A), *runs("b", B)]])
    (found,) = compare(frame, "algorithm", metric="test_loss").differences
    assert found.verdict == "second"


def test_verdicts_under_the_null_are_rare_over_all_pairs_together():
    rng, families, pairs = np.random.default_rng(0), 1000, 6
    wrong = 0
    for _ in range(families):
        raw = [({}, "a", "b", *rng.normal(0.9, 0.01, (2, 5))) for _ in range(pairs)]
        found = judged(raw, "test_accuracy", 0.05)
        wrong += any(d.verdict for d in found)
        assert all((d.low > 0 or d.high < 0) == bool(d.verdict) for d in found)
    assert wrong / families < 0.05 + 3 * math.sqrt(0.05 * 0.95 / families)
    assert wrong / families > 0.02  # a test that never speaks would pass the line above


def test_more_seeds_see_more():
    rng = np.random.default_rng(1)

    def share(seeds):
        hits = 0
        for _ in range(60):
            base = rng.normal(0.9, 0.02, seeds)
            frame = two(base, base - 0.01 + rng.normal(0, 0.01, seeds))
            hits += compare(frame, "algorithm").differences[0].verdict == "first"
        return hits / 60

    assert share(3) < 0.4
    assert share(15) > 0.85


def test_more_pairs_ask_for_more():
    alone = compare(two(A, B), "algorithm").differences[0]
    noise = [
        row for k in range(2, 9) for row in [*runs("a", A, epsilon=float(k)), *runs("b", A[::-1], epsilon=float(k))]
    ]
    among = compare(frame_of([*runs("a", A), *runs("b", B), *noise]), "algorithm").differences[0]
    assert among.p == alone.p
    assert among.adjusted_p == pytest.approx(8 * alone.p)
    assert among.high - among.low > alone.high - alone.low
    assert among.verdict == ""


def test_equal_numbers_show_nothing_and_a_constant_gap_of_few_seeds_neither():
    assert compare(two(A, A), "algorithm").differences[0].verdict == ""
    found = compare(two(A[:3], [a - 0.01 for a in A[:3]]), "algorithm").differences[0]
    assert found.verdict == ""
    assert found.p == pytest.approx(0.25)


@pytest.mark.parametrize("gap", [0.05, 0.0])
@pytest.mark.parametrize("seeds", [2, 3, 6, 9, 20])
def test_an_interval_of_equal_differences_leaves_out_zero_exactly_where_a_verdict_is_given(gap, seeds):
    base = 0.8 + np.arange(seeds) / 100
    (found,) = judged([({}, "a", "b", base + gap, base)], "test_accuracy", 0.05)
    assert (found.low > 0 or found.high < 0) == bool(found.verdict) == (gap > 0 and 2 / 2**seeds <= 0.05)
    assert (found.low, found.high) == ((found.mean,) * 2 if 2 / 2**seeds <= 0.05 else (-math.inf, math.inf))
    told = compare(two(base + gap, base), "algorithm")
    assert "1 pair has the same difference at every seed, of which there is no t-test" in " ".join(notes(told))


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_show_nothing_and_warn_of_nothing():
    pairs = [({}, "a", "b", np.array([math.inf, 1, 2]), np.array([math.inf, 3, 5.0]))] * 2
    for found in judged(pairs, "test_loss", 0.05):
        assert (found.verdict, found.low, found.high, found.adjusted_p) == ("", -math.inf, math.inf, 1.0)


def test_points_meet_by_their_settings_or_as_the_best():
    rows = []
    for rate, shift in ((0.1, 0.0), (0.5, 0.02)):
        rows += runs("a", np.array(A) + shift, learning_rate=rate)
        rows += runs("b", np.array(B) + shift, learning_rate=rate)
    rows += runs("a", A, learning_rate=9.0)
    found = compare(frame_of(rows), "algorithm")
    assert len(found.differences) == 2
    assert [line.partition(" at ")[0] for line in found.unpaired] == ["a: 1 point"]
    best = compare(frame_of(rows), "algorithm", best=True)
    assert [d.first_mean for d in best.differences] == [pytest.approx(np.mean(A) + 0.02)]


def test_different_epsilon_are_no_pair():
    frame = frame_of([*runs("a", A, epsilon=1.0), *runs("b", B, epsilon=2.0)])
    with pytest.raises(ResultsError, match="share ε, data and two seeds: a: 1 point at"):
        compare(frame, "algorithm")


@pytest.mark.parametrize(
    ("frame", "by", "options", "sentence"),
    [
        (two(A, B), "colour", {}, "there is no column colour, and clip_norm has no values here: choose one of"),
        (two(A, B), "algorithm", {"values": ["a", "c"]}, "no row has algorithm=c: choose two of a, b"),
        (frame_of(runs("a", A)), "algorithm", {}, "has one value, a"),
        (two(A[:1], B[:1]), "algorithm", {}, "share ε, data and two seeds"),
        (two(A, B), "algorithm", {"metric": "colour"}, "there is no column colour"),
        (two(A, B), "algorithn", {}, "there is no column algorithn: did you mean algorithm?"),
        (two(A, B), "algorithm", {"confidence": 1.0}, "confidence is 1.0"),
    ],
)
def test_bad_input_is_named(frame, by, options, sentence):
    with pytest.raises(ResultsError, match=sentence):
        compare(frame, by, **options)


def test_the_table_says_who_is_better_and_what_it_rests_on():
    found = compare(two(A, B), "algorithm")
    headers, rows = as_rows(found)
    assert dict(zip(headers, rows[0], strict=True))["verdict"] == "a is better"
    assert notes(found)[0] == (
        "test accuracy, higher is better; paired over seeds; 1 pair; 95% confidence over all verdicts together."
    )
    assert "p = 0.0625" in notes(found)[-1]


def test_two_folders_on_the_command_line(tmp_path, capsys):
    for name, values in (("mine", A), ("theirs", B)):
        write_job_result(tmp_path / name / "0", runs("fedavg", values, experiment=name), "d")
    for option, mark in (
        ("--markdown", "| 1 | mine | theirs | 5 |"),
        ("--latex", r"1 & mine & theirs"),
        ("--csv", "mine,"),
    ):
        with pytest.raises(SystemExit) as end:
            main(["compare", str(tmp_path / "mine"), str(tmp_path / "theirs"), option])
        assert end.value.code in (0, None)
        assert mark in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["compare", str(tmp_path / "mine")])
    assert end.value.code == 1
    assert "give two folders, or one and --by COLUMN" in capsys.readouterr().err


def test_an_unreadable_file_is_named_and_the_rest_compared(tmp_path, capsys):
    for name, values in (("a", A), ("b", B)):
        write_job_result(tmp_path / name, runs(name, values), "d")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "result.json").write_text("{half")
    with pytest.raises(SystemExit) as end:
        main(["compare", str(tmp_path), "--by", "algorithm"])
    assert end.value.code == 1
    printed = capsys.readouterr()
    assert "a is better" in printed.out
    assert "is cut short or not JSON" in printed.err


def folders(*sides):
    return frame_of([row | {"folder": side} for side, rows in sides for row in rows])


def test_two_sweeps_of_different_models_meet_point_by_point_and_say_in_what_they_differ():
    def sweep(model, shift):
        points = [(e, c) for e in (1.0, 8.0) for c in (0.1, 1.0)]
        return [r for e, c in points for r in runs(model, np.array(A) + shift, e, clip_norm=c, model=model)]

    found = compare(folders(("mine", sweep("mlp", 0.0)), ("theirs", sweep("cnn", 0.01))), "folder")
    assert len(found.differences) == 4
    assert not found.unpaired
    assert "The sides differ in model (" in "".join(notes(found))
    headers, rows = as_rows(found)
    assert headers[:2] == ["ε", "clip norm"]
    assert len({tuple(row[:2]) for row in rows}) == 4


def test_two_sweeps_that_share_a_setting_in_part_are_not_paired_across_it():
    mine = [*runs("a", A, clip_norm=0.1), *runs("a", A, clip_norm=1.0)]
    theirs = [*runs("a", B, clip_norm=1.0), *runs("a", B, clip_norm=3.0)]
    found = compare(folders(("mine", mine), ("theirs", theirs)), "folder")
    assert [d.where["clip_norm"] for d in found.differences] == ["1"]
    assert len(found.unpaired) == 2
    assert "same settings" in found.unpaired[0]
    assert not found.apart


@pytest.mark.parametrize(
    ("name", "values"),
    [("noise", ("gaussian", "correlated(banded 4)")), ("learnt", (None, "range of bmi")), ("clip_norm", (0.1, 3.0))],
)
def test_what_a_pair_differs_in_besides_is_said(name, values):
    a, b = (runs("x", scores, **{name: value}) for scores, value in zip((A, B), values, strict=True))
    said = " ".join(notes(compare(folders(("mine", a), ("theirs", b)), "folder")))
    assert "The sides differ in" in said
    assert str(values[1]).removesuffix(".0") in said


def test_where_nothing_pairs_the_nearest_point_and_what_it_differs_in_are_named():
    frame = frame_of([*runs("a", A, epsilon=1.0), *runs("b", B, epsilon=2.0)])
    with pytest.raises(ResultsError, match=r"the nearest of b differs in ε \(1, 2\)"):
        compare(frame, "algorithm")


def test_sides_with_commas_are_told_apart_where_they_are_listed():
    rows = frame_of([*runs("one, two", A), *runs("three", B)])
    with pytest.raises(ResultsError, match=r'choose two of "one, two", three$'):
        compare(rows, "algorithm", values=["four", "three"])


def test_differences_that_are_equal_but_for_the_rounding_of_32_bits_have_no_t_test():
    accuracies = [0.9566695094108582, 0.9541206359863281]  # of 1177 test rows, two of which the other side loses
    rows = [
        {
            "epsilon": 1.0,
            "seed": seed,
            "clip_norm": clip,
            "test_accuracy": float(np.float32(value - 2 / 1177 * (clip < 1))),
        }
        for seed, value in enumerate(accuracies)
        for clip in (0.1, 1.0)
    ]
    (found,) = compare(frame_of(rows), "clip_norm").differences
    assert found.std == 0
    assert found.verdict == ""
    assert found.adjusted_p >= 0.5


def test_a_seed_that_diverged_is_not_left_out_of_its_pair():
    """Its loss is missing: of the seeds that are left no side is better."""
    rows = [*runs("a", [0.5, 0.51, 0.49, 0.5, 0.52, 0.5]), *runs("b", [0.9, 0.93, 0.88, 0.91, 0.9, 0.92])]
    for row in rows:
        row["test_loss"] = row.pop("test_accuracy")
    assert compare(frame_of(rows), "algorithm", metric="test_loss").differences[0].verdict == "first"
    rows[0] |= {"diverged": True, "test_loss": None}
    found = compare(frame_of(rows), "algorithm", metric="test_loss")
    assert found.differences[0].seeds == 6
    assert found.differences[0].verdict == ""
    assert "no test was possible" in " ".join(notes(found))


def test_what_was_chosen_by_what_is_compared_claims_nothing():
    said = " ".join(notes(compare(two(A, B), "algorithm", best=True)))
    assert "had nobody chosen" in said
    assert "only other seeds of both can tell" in said
    assert "chosen" not in " ".join(notes(compare(two(A, B), "algorithm")))
