"""Scores of unbalanced classes, each against its definition counted out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpjax.scores import NAMES, scores


def drawn(seed, rows=60, classes=2):
    source = np.random.default_rng(seed)
    labels = source.integers(0, classes, rows)
    labels[:classes] = np.arange(classes)
    return np.round(source.normal(size=(rows, classes)) + 0.7 * np.eye(classes)[labels], 1), labels


@given(st.integers(0, 10_000))
def test_auroc_is_the_chance_of_the_right_order(seed):
    logits, labels = drawn(seed)
    margin = logits[:, 1] - logits[:, 0]
    above = margin[labels == 1][:, None] - margin[labels == 0][None]
    assert scores(logits, labels)["auroc"] == pytest.approx((np.sign(above) + 1).mean() / 2, abs=1e-12)


@given(st.integers(0, 10_000))
def test_auprc_is_the_precision_at_each_new_recall(seed):
    logits, labels = drawn(seed)
    margin = logits[:, 1] - logits[:, 0]
    area, before = 0.0, 0.0
    for threshold in np.unique(margin)[::-1]:
        taken = margin >= threshold
        recall = (labels[taken] == 1).sum() / (labels == 1).sum()
        area += (recall - before) * (labels[taken] == 1).mean()
        before = recall
    assert scores(logits, labels)["auprc"] == pytest.approx(area, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_recall_f1_and_calibration_by_hand(classes):
    logits, labels = drawn(3, 200, classes)
    found, guessed = scores(logits, labels), logits.argmax(1)
    assert found["balanced_accuracy"] == pytest.approx(
        np.mean([np.mean(guessed[labels == k] == k) for k in range(classes)])
    )
    f1 = []
    for k in [1] if classes == 2 else range(classes):
        hit = ((guessed == k) & (labels == k)).sum()
        f1.append(2 * hit / ((guessed == k).sum() + (labels == k).sum()))
    assert found["f1"] == pytest.approx(np.mean(f1))
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    error = 0.0
    for low in np.arange(15) / 15:
        inside = (chances.max(1) >= low) & (chances.max(1) < low + 1 / 15)
        if inside.any():
            error += inside.mean() * abs(chances.max(1)[inside].mean() - (guessed == labels)[inside].mean())
    assert found["calibration_error"] == pytest.approx(error)


def test_a_constant_guess_is_right_about_half_however_rare_a_class_is():
    logits = np.tile([1.0, 0.0], (100, 1))
    found = scores(logits, np.array([1] * 3 + [0] * 97))
    assert (found["balanced_accuracy"], found["auroc"], found["f1"]) == (0.5, 0.5, 0.0)
    assert found["auprc"] == pytest.approx(0.03)


def test_saturated_chances_keep_their_order():
    found = scores(np.array([[0.0, 800.0], [0.0, 900.0], [0.0, 700.0], [0.0, 600.0]]), np.array([1, 1, 0, 0]))
    assert found["auroc"] == 1.0


def test_what_is_undefined_is_none_and_nothing_is_scored_of_what_diverged():
    one_class = scores(np.eye(2), np.array([1, 1]))
    assert one_class["auroc"] is None
    assert one_class["balanced_accuracy"] == 0.5
    assert scores(np.array([[np.nan, 0.0]]), np.array([0])) == dict.fromkeys(NAMES)
    with pytest.raises(ValueError, match="0 rows"):
        scores(np.zeros((0, 2)), np.zeros(0, int))
    with pytest.raises(ValueError, match=r"not all in \[0, 2\)"):
        scores(np.zeros((1, 2)), np.array([2]))
