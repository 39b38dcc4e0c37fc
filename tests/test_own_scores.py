"""Scores of one's own by file: columns of the row, told in every table, refused in one sentence where they are none."""

import math

import numpy as np
import pandas as pd
import pytest

from dpjax import cli
from dpjax.report.contents import gather
from dpjax.report.packing import pack
from dpjax.results import load, summary
from dpjax.scores import scores

FEW = ["optimizer.num_steps=3", "privacy.accountant=rdp", "figures=false"]
DIVERGES = ["model=mlp", "model.activation=relu", "optimizer.learning_rate=1e18", "privacy=none"]
SCORES = """
import jax.numpy as jnp
import numpy as np
from neighbour import CALLS, calibration


def test_scores(logits, labels):
    CALLS.append(logits.shape)
    found = {"test_top1": jnp.mean(logits.argmax(1) == labels), "calls": len(CALLS), "nothing": np.nan}
    found["my_error"] = calibration(logits, labels)
    logits[:], labels[:] = 0, 0
    return found
"""
NEIGHBOUR = """
from dpjax.scores import scores

CALLS = []


def calibration(logits, labels):
    return scores(logits, labels)["calibration_error"]
"""


@pytest.fixture
def plugin(tmp_path):
    def write(text):
        (tmp_path / "my plugins").mkdir(exist_ok=True)
        (tmp_path / "my plugins/neighbour.py").write_text(NEIGHBOUR)
        (tmp_path / "my plugins/mine.py").write_text(text)
        return f"plugin='{tmp_path}/my plugins/mine.py'"

    return write


def test_scores_are_columns_of_the_row_and_of_every_table(plugin, main, capsys, tmp_path):
    code, out, err = main(plugin(SCORES), *FEW, "num_seeds=2", folder=tmp_path / "results")
    assert code == 0, err
    rows = load(next((tmp_path / "results").rglob("results.parquet")))
    assert (rows["test_top1"] - rows["test_accuracy"]).abs().max() < 1e-6
    assert rows["test_my_error"].tolist() == rows["test_calibration_error"].tolist()  # it changed copies only
    assert sorted(rows["test_calls"]) == [2, 3]  # once on made-up logits, and once a run
    assert rows["test_nothing"].isna().all()
    assert rows["plugin"].str.startswith("mine.py@").all()
    assert "neighbour.py" in rows["inputs"][0]  # what it imports is what the result is of
    assert "test my error" in out
    assert summary(rows)["test_my_error_mean"].tolist() == pytest.approx([rows["test_my_error"].mean()])

    folder = str(tmp_path / "results")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["results", "show", folder, "--metric", "test_my_error"])
    assert "chosen by test my error" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match="0"):
        cli.main(["plot", folder, "--x", "epsilon", "--y", "test_my_error", "--format", "png"])
    told = {each["name"]: each for each in pack(gather(tmp_path / "results"), "")["metrics"]}
    assert (told["test_my_error"]["lower"], told["test_top1"]["lower"]) == (True, False)


def test_a_run_that_diverged_has_none_of_its_own(plugin, main, tmp_path):
    code, _, err = main(plugin(SCORES), *FEW, "num_seeds=1", *DIVERGES)
    assert code == 0, err
    (row,) = load(next(tmp_path.rglob("results.parquet"))).to_dict("records")
    assert row["diverged"]
    assert all(pd.isna(row[f"test_{name}"]) for name in ("top1", "calls", "my_error"))


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("return 3", "test_scores(logits, labels) gave 3; return a dict of a name and a number each."),
        ("return {}", "test_scores(logits, labels) gave {}; return a dict"),
        ("return {'top3': logits}", "gave top3 = float32[359, 10]; give one real number, or nan for none."),
        ("return {'top3': [0.1]}", "gave top3 = [0.1]; give one real number"),
        ("return {'top3': 1j}", "gave top3 = 1j; give one real number"),
        ("return {'top3': '0.1'}", "gave top3 = '0.1'; give one real number"),
        ("return {'top3': None}", "gave top3 = None; give one real number"),
        ("return {'accuracy': 1.0}", "gave accuracy, which every row has as test_accuracy; name it otherwise."),
        ("return {'test_loss': 1.0}", "gave test_loss, which every row has as test_loss; name it otherwise."),
        ("return {'a': 1.0, 'test_a': 1.0}", "gave test_a twice, with and without test_; leave one out."),
        ("return {'top 3': 1.0}", "named one 'top 3'; use letters, digits, underscores, a letter first."),
        ("return {3: 1.0}", "named one 3; use letters"),
        ("return {'a': logits[0, 99]}", "test_scores(logits, labels) failed in line 2 (IndexError: index 99 is out"),
        ("import sys; sys.exit('no')", "test_scores(logits, labels) failed in line 2 (SystemExit: no); mend it."),
    ],
)
def test_what_is_no_score_is_refused_in_one_sentence_before_anything_trains(body, sentence, plugin, main, tmp_path):
    code, _, err = main(plugin(f"def test_scores(logits, labels):\n    {body}\n"), *FEW, "num_seeds=1")
    assert code != 0
    assert err.count("\n") == 1
    assert f"plugin={tmp_path}/my plugins/mine.py" in err
    assert sentence in err


def test_what_fails_only_on_what_was_trained_fails_its_job_in_one_sentence(plugin, main):
    second = "from neighbour import CALLS as known\n\n\ndef test_scores(logits, labels):\n"
    second += "    known.append(1)\n    return {'a': 1.0 if len(known) == 1 else {}['b']}\n"
    code, _, err = main(plugin(second), *FEW, "num_seeds=1")
    assert code != 0
    assert "test_scores(logits, labels) failed in line 6 (KeyError: 'b'); mend it." in err
    assert "Traceback" not in err


def test_another_signature_is_answered_with_both(plugin, main):
    said = main(plugin("def test_scores(labels, logits): return {}\n"), *FEW)[2]
    assert "test_scores takes (labels, logits) in another order than test_scores(logits, labels)" in said
    assert "test_scores takes (logits), but is called" in main(plugin("def test_scores(logits): return {}\n"), *FEW)[2]


def test_texts_that_keep_no_logits_say_so():
    from experiments.own_scores import own_scores
    from experiments.problems.problem import Problem

    class Module:
        test_scores = staticmethod(lambda logits, labels: {"a": 1.0})

    rows = (np.zeros((2, 3)), np.zeros(2))
    none = Problem(None, (), None, None, None, None, rows, lambda frozen: None, None, {}, tokens_per_row=3.0)
    with pytest.raises(
        ValueError, match="keeps no logits of its test rows: texts are scored as they are evaluated; lea"
    ):
        own_scores("mine.py", Module, none)
    with pytest.raises(ValueError, match="it predicts no class; leave it out"):
        own_scores("mine.py", Module, none._replace(predict=None))


def test_made_up_logits_are_no_constants():
    found = scores(np.random.default_rng(0).standard_normal((300, 4), np.float32), np.arange(300) % 4)
    assert not math.isnan(found["auroc"])
