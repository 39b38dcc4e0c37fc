"""Whether points have learnt anything: a test metric that does not beat one answer given whatever the input."""

from collections.abc import Sequence
from typing import Any

from dpjax.results.claims import number, text
from dpjax.results.wording import cell_text, mean_and_std

_NEAR = 0.02
"""How far above the share of the commonest class an accuracy may lie and still be that of one answer, as of another."""
_RANKS = 0.6
"""An AUROC from which on a model tells rows apart, whatever its accuracy says where one class is nearly all."""

_INVERTED = 1 - _RANKS
"""An AUROC up to which a model ranks rows, but the wrong way round."""
_SAME = 2e-6
"""How far apart two shares of rows may lie that are equal but for float32."""

_HIGH = 0.05
"""A learning rate from which on the first thing to try is a lower one."""


def at_chance(point: dict[str, Any]) -> bool:
    """Whether a point's answers are no better than one and the same answer to all rows.

    Formal guarantees: False where a run diverged, of which the table says so itself, where a metric to tell is missing,
    and of personalized models, of which the test set sees a head that nobody has trained.

    Args:
      point: a row of ``dpjax.results.summary``.

    Example:
      >>> point = {"n": 2, "diverged": 0, "test_majority": 0.5}
      >>> [at_chance(point | {"test_accuracy_mean": x, "test_accuracy_std": 0.0}) for x in (0.5, 0.6)]
      [True, False]
    """
    if point["diverged"] or text(point, "algorithm") == "personalized":
        return False
    accuracy, common = number(point, "test_accuracy_mean"), number(point, "test_majority")
    if accuracy is None or common is None:
        explained = number(point, "test_r2_mean")
        return explained is not None and explained <= 0
    ranks = number(point, "test_auroc_mean")
    return accuracy <= common + _NEAR and (ranks is None or ranks < _RANKS)


def chance_sentence(points: Sequence[dict[str, Any]]) -> str:
    """At which ε no point learnt anything, and what to try; empty if at each one some did.

    Args:
      points: of one family, rows of ``dpjax.results.summary``.

    Example:
      >>> point = {"n": 2, "diverged": 0, "epsilon": 8.0, "test_majority": 0.5, "learning_rate": 0.5}
      >>> said = chance_sentence([point | {"test_accuracy_mean": 0.498, "test_accuracy_std": float("nan")}])
      >>> said.partition(": ")[0]
      'Nothing is learnt at ε=8 (test accuracy 0.498, where always saying the commonest class has 0.500)'
      >>> said.partition(": ")[2].split(",")[:2]
      ['try a lower optimizer.learning_rate', ' such as 0.05']
    """
    by_epsilon: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        by_epsilon.setdefault(cell_text(point, "epsilon"), []).append(point)
    stuck = {epsilon: each for epsilon, each in by_epsilon.items() if all(map(at_chance, each))}
    if not stuck:
        return ""
    failed = [point for each in stuck.values() for point in each]
    metric = "test_accuracy" if number(failed[0], "test_accuracy_mean") is not None else "test_r2"
    best = max(failed, key=lambda point: number(point, f"{metric}_mean") or 0.0)
    reached = mean_and_std(best[f"{metric}_mean"], best[f"{metric}_std"])
    if metric == "test_r2":
        why = f"test R² {reached} is no better than saying the mean of the labels"
    else:
        why = (
            f"test accuracy {reached}, where always saying the commonest class has {number(best, 'test_majority'):.3f}"
        )
    clients = number(best, "clients_per_round") is not None and text(best, "algorithm") != "fedsgd"
    rate = None if clients else number(best, "learning_rate")
    such = f", such as {float(f'{rate / 10:.1g}'):g}," if rate and rate >= _HIGH else ""
    which = "another" if rate and rate < _HIGH else "a lower"
    tries = f"{which} {'federated.client_learning_rate' if clients else 'optimizer.learning_rate'}{such}"
    if set(stuck) != {"∞"}:
        tries += " then another privacy.clip_norm, more optimizer.num_steps or a larger ε"
    else:
        tries += " or more optimizer.num_steps"
    return f"Nothing is learnt at ε={' and '.join(stuck)} ({why}): try {tries}."


def one_class_alone(point: dict[str, Any]) -> bool:
    """Whether all seeds of a point answer the commonest class whatever the input.

    Formal guarantees: only where the accuracy is that class's share and the balanced accuracy one over a whole number
    of classes, at all seeds. False where a metric to tell is missing.

    Args:
      point: a row of ``dpjax.results.summary``.

    Example:
      >>> point = {"test_accuracy_mean": 0.9, "test_balanced_accuracy_mean": 0.5, "test_majority": 0.9}
      >>> [one_class_alone(point | {"test_accuracy_mean": x}) for x in (0.9, 0.91)]
      [True, False]
    """
    accuracy, common = number(point, "test_accuracy_mean"), number(point, "test_majority")
    balanced = number(point, "test_balanced_accuracy_mean")
    if accuracy is None or common is None or not balanced:
        return False
    classes = round(1 / balanced)
    spreads = [number(point, f"{name}_std") or 0.0 for name in ("test_accuracy", "test_balanced_accuracy")]
    apart = (abs(accuracy - common), abs(balanced - 1 / classes), *spreads)
    return classes > 1 and max(apart) < _SAME


def starred_sentences(points: Sequence[dict[str, Any]]) -> list[str]:
    """What a star hides: a best point that answers one class alone, or that ranks rows the wrong way round.

    Args:
      points: of one family, rows of ``dpjax.results.summary``.

    Example:
      >>> point = {"n": 2, "diverged": 0, "best": True, "epsilon": 3.0, "test_majority": 0.926}
      >>> point |= {"test_accuracy_mean": 0.926, "test_balanced_accuracy_mean": 0.5, "test_auroc_mean": 0.78}
      >>> starred_sentences([point])
      ['At ε=3 the starred point answers the commonest class alone (balanced accuracy 0.500): read test AUROC, or \
choose by another --metric, such as test_balanced_accuracy.']
    """
    starred = [p for p in points if p.get("best") and not p["diverged"] and text(p, "algorithm") != "personalized"]
    alone = [point for point in starred if one_class_alone(point)]
    lines = []
    if alone:
        balanced = f"{number(alone[0], 'test_balanced_accuracy_mean'):.3f}"
        lines.append(
            f"At ε={_epsilons(alone)} the starred point answers the commonest class alone (balanced accuracy "
            f"{balanced}): read test AUROC, or choose by another --metric, such as test_balanced_accuracy."
        )
    inverted = [p for p in starred if (ranks := number(p, "test_auroc_mean")) is not None and ranks <= _INVERTED]
    if inverted:
        auroc = " and ".join(dict.fromkeys(f"{number(point, 'test_auroc_mean'):.3f}" for point in inverted))
        lines.append(
            f"At ε={_epsilons(inverted)} the starred point ranks the test rows the wrong way round (test AUROC "
            f"{auroc}, where 0.5 is a guess): it scores rows of a class below the others."
        )
    return lines


def _epsilons(points: Sequence[dict[str, Any]]) -> str:
    return " and ".join(dict.fromkeys(cell_text(point, "epsilon") for point in points))
