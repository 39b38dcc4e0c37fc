"""Rows 16 to 23: published accuracies, and those of the same recipes run here on the nearest data that can be had."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from paper.language import LANGUAGE
from paper.published import Comparison

_HUB = "data from a hub: PROFILE=full"
_FASHION = "Fashion-MNIST, as many rows"


def training_rows(frame: pd.DataFrame) -> list[Comparison]:
    """Every comparison of trained models; ours is missing where the profile did not run it.

    Args:
      frame: of ``gather``.
    """
    rows = _Rows(frame)
    comparisons = [
        *_tutorials(rows),
        *_scattering(rows),
        *_tempered(rows),
        *_clients(rows),
        *_solvers(rows),
        *_reviews(rows),
        *_language(rows),
    ]
    return comparisons


class _Rows:
    """Test accuracies in percent, looked up by what was run."""

    def __init__(self, frame: pd.DataFrame):
        self.frame: Any = frame

    def find(self, experiment: str, dataset: str, **where: Any) -> tuple[float | None, float | None]:
        """Mean and deviation over seeds; None where nothing was run, or with one seed."""
        chosen = self.frame[(self.frame["experiment"] == experiment) & (self.frame["dataset"] == dataset)]
        if "epsilon" not in where and where.get("noise_multiplier") != 0:
            chosen = chosen[chosen["epsilon"] < math.inf]  # references have rows of their own
        for name, value in where.items():
            if isinstance(value, str):
                chosen = chosen[chosen[name].fillna("").str.contains(value, regex=False)]
            elif math.isinf(value):
                chosen = chosen[chosen[name] == value]
            else:
                chosen = chosen[(chosen[name] - value).abs() < 1e-6]
        accuracies = 100 * chosen["test_accuracy"]
        if not len(accuracies):
            return None, None
        return float(accuracies.mean()), float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None


def _pair(rows: _Rows, experiment: str, **where: Any) -> tuple[float | None, float | None, str]:
    """On MNIST where it was run there, else on Fashion-MNIST."""
    ours = rows.find(experiment, "mnist", **where)
    if ours[0] is not None:
        return *ours, ""
    return *rows.find(experiment, "fashion_mnist", **where), _FASHION


def _percent(
    row: int, source: str, quantity: str, published: float, ours: tuple[Any, Any, str], **more: Any
) -> Comparison:
    return Comparison(row, source, quantity, published, ours[0], spread=ours[1], difference=ours[2], unit="%", **more)


def _tutorials(rows: _Rows) -> Iterator[Comparison]:
    settings = ((1.3, 15), (1.1, 60), (0.7, 45))
    for source, rate, published in (
        ("TensorFlow Privacy's tutorial, MNIST", 256 / 60_000, (95.0, 96.6, 97.0)),
        ("Opacus' example, MNIST", 240 / 60_000, (94.63, 96.78, 97.09)),
    ):
        for (noise, epochs), value in zip(settings, published, strict=True):
            ours = _pair(rows, "published_tutorial", noise_multiplier=noise, sampling_rate=rate)
            yield _percent(16, source, f"CNN, noise {noise}, {epochs} epochs", value, ours)
    tutorial, digits = "TensorFlow Privacy's tutorial, MNIST", "8,000 digits of MNIST, larger ε"
    for noise, steps, value in ((1.3, 3516, 95.0), (1.1, 14_063, 96.6), (0.7, 10_547, 97.0)):
        ours = (*rows.find("published_digits", "mnist_10k", noise_multiplier=noise), digits)
        yield _percent(16, tutorial, f"CNN, noise {noise}, {steps:,} steps", value, ours)
    ours = (*rows.find("published_digits", "mnist_10k", epsilon=math.inf), digits)
    yield _percent(16, tutorial, "CNN without privacy, 3,516 steps", 99.0, ours)
    ours = _pair(rows, "published_tutorial", epsilon=math.inf)
    yield _percent(16, tutorial, "CNN without privacy, 15 epochs", 99.0, ours)


def _scattering(rows: _Rows) -> Iterator[Comparison]:
    source = "Tramèr and Boneh, 2021"
    for experiment, model, published, lowest in (
        ("published_scattering", "ScatterNet + linear", 89.7, 89.0),
        ("published_end_to_end", "CNN", 86.0, 85.5),
    ):
        ours = (*rows.find(experiment, "fashion_mnist"), "")
        yield _percent(17, source, f"{model}, Fashion-MNIST, ε=3 by RDP", published, ours, lowest=lowest)
    for experiment, model, published in (
        ("published_scattering", "ScatterNet + linear", 98.7),
        ("published_end_to_end", "CNN", 98.1),
    ):
        yield _percent(17, source, f"{model}, MNIST, ε=3 by RDP", published, (*rows.find(experiment, "mnist"), _HUB))


def _tempered(rows: _Rows) -> Iterator[Comparison]:
    source = "Papernot et al., 2021"
    ours = (*rows.find("published_tempered", "fashion_mnist", config='"activation": "tanh"'), "")
    yield _percent(18, source, "tanh CNN, Fashion-MNIST, ε=2.7 by RDP", 86.1, ours)
    ours = (*rows.find("published_tempered", "mnist", config='"activation": "tanh"'), _HUB)
    yield _percent(18, source, "tanh CNN, MNIST, ε=2.93 by RDP", 98.1, ours)


def _clients(rows: _Rows) -> Iterator[Comparison]:
    source, note = "TensorFlow Federated's tutorial, EMNIST", "Fashion-MNIST, 3,383 clients"
    for noise, clients, published in (
        (0.0, 50, 80.5),
        (0.5, 50, 77.0),
        (0.75, 50, 70.9),
        (1.0, 50, 38.3),
        (1.2, 120, 79.6),
    ):
        row = rows.find("published_clients", "fashion_mnist", noise_multiplier=noise, clients_per_round=float(clients))
        quantity = f"DP-FedAvg, {clients} clients a round, noise {noise:g}"
        yield _percent(19, source, quantity, published, (*row, note))


def _solvers(rows: _Rows) -> Iterator[Comparison]:
    source, note = "Li et al., 2022 (niid_bench), CIFAR-10", "MLP, Fashion-MNIST, 20 rounds"
    names = ("fedavg", "scaffold", "fedprox", "fednova")
    for partition, published in (("iid", (71.32, 71.66, 71.26, 70.69)), ("dirichlet", (62.47, 68.08, 65.63, 63.89))):
        for name, value in zip(names, published, strict=True):
            row = rows.find("published_solvers", "fashion_mnist", partition=partition, algorithm=name, epsilon=math.inf)
            split = "iid" if partition == "iid" else "Dirichlet(0.5)"
            yield _percent(20, source, f"{name}, 10 clients, {split}", value, (*row, note))


def _reviews(rows: _Rows) -> Iterator[Comparison]:
    note = "MiniLM, Rotten Tomatoes"
    for source, epsilon, published in (("Yu et al., 2021", 8.0, 94.2), ("book-keeping authors, 2023", 3.0, 93.9)):
        row = rows.find("published_reviews", "rotten_tomatoes", epsilon=epsilon)
        quantity = f"RoBERTa-large, SST-2, ε={epsilon:g}"
        yield _percent(21, source, quantity, published, (*row, note))


def _language(rows: _Rows) -> Iterator[Comparison]:
    for each in LANGUAGE:
        if each.unit != "%":
            note = "no BLEU is computed: a result has loss and right next tokens"
            yield Comparison(each.row, each.source, each.quantity, each.value, None, difference=note, unit=each.unit)
            continue
        where = {"model": each.model, "tuning": each.tuning, "clipping": each.clipping, "epsilon": each.epsilon}
        mean, spread = rows.find(each.experiment, each.dataset, **where)
        note = "from a hub, on an accelerator" if mean is None else "a linear head, no prompt"
        yield _percent(each.row, each.source, each.quantity, each.value, (mean, spread, note))
