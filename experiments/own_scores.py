"""Scores of one's own: what a plugin reads off the test rows' logits at the end of a run, as columns of its row."""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from dpjax.checks import brief
from dpjax.results.schema import SCHEMA
from experiments.config import ConfigError
from experiments.lane_report import has_test_logits
from experiments.plugins import running
from experiments.problems.problem import Problem

OwnScores = Callable[[np.ndarray | None, np.ndarray], dict[str, float | None]]
"""``(logits, labels)`` of the test rows → the columns that a plugin fills; None for each where there are no logits."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # what --y and --select take for one name


def own_scores(name: str, module: ModuleType | None, problem: Problem) -> OwnScores | None:
    """The plugin's ``test_scores(logits, labels)``, tried on made-up logits; None: it has none.

    Formal guarantees: it is given copies, so that it changes neither the data nor what others are made of; and the
    test rows only, after the last step: no training row, and nothing that ε is spent on.

    Args:
      name: of the plugin.
      module: of it, as it was loaded for the run.
      problem: whose test rows are scored.

    Raises:
      ConfigError: it fails, gives other than numbers by name, or a name that the schema has; or the run carries no
        logits to the end. So does what is returned.
    """
    if not hasattr(module, "test_scores"):
        return None
    if not has_test_logits(problem):
        raise ConfigError(
            f"plugin={name} has a test_scores(logits, labels), and this run keeps no logits of its test rows: "
            f"{_why_none(problem)}; leave it out."
        )
    labels = problem.dataset.test_labels
    made_up = np.random.default_rng(0).standard_normal((len(labels), problem.dataset.num_classes), np.float32)
    known = _scored(name, module, made_up, labels)  # hours of training end in it: it fails now, if it does

    def found(logits: np.ndarray | None, labels: np.ndarray) -> dict[str, float | None]:
        scored = {} if logits is None else _scored(name, module, logits, labels)
        return {**dict.fromkeys(known), **scored}

    return found


def _why_none(problem: Problem) -> str:
    if problem.predict is None:
        return "it predicts no class"
    return "texts are scored as they are evaluated" if problem.tokens_per_row else "they would be too many"


def _scored(name: str, module: ModuleType | None, logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    called = "test_scores(logits, labels)"
    with running(name, called):
        found = module.test_scores(np.array(logits), np.array(labels))  # pyright: ignore[reportOptionalMemberAccess]
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"plugin={name}: {called} gave {brief(found)}; return a dict of a name and a number each.")
    scores: dict[str, float] = {}
    for given, value in found.items():
        column = _column(name, given)
        if column in scores:
            raise ConfigError(f"plugin={name}: {called} gave {column} twice, with and without test_; leave one out.")
        scores[column] = _number(name, given, value)
    return scores


def _column(name: str, given: Any) -> str:
    if not isinstance(given, str) or not _NAME.fullmatch(given):
        raise ConfigError(
            f"plugin={name}: test_scores named one {brief(given)}; use letters, digits, underscores, a letter first."
        )
    column = given if given.startswith("test_") else f"test_{given}"
    if column in SCHEMA:
        raise ConfigError(
            f"plugin={name}: test_scores gave {given}, which every row has as {column}; name it otherwise."
        )
    return column


def _number(name: str, given: str, value: Any) -> float:
    """A number of Python, NumPy or JAX; nan, where there is none, too."""
    shape, dtype = getattr(value, "shape", ()), getattr(value, "dtype", np.dtype(type(value)))
    if shape == () and any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
        return float(value)
    shown = brief(value) if shape == () else f"{dtype}[{', '.join(map(str, shape))}]"
    raise ConfigError(f"plugin={name}: test_scores gave {given} = {shown}; give one real number, or nan for none.")
