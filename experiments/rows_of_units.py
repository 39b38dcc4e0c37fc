"""How many training rows each unit of a run has, said where it begins: a mean hides the one who has many."""

import sys

import numpy as np

from experiments.config import Config
from experiments.setup import Setup

_said: set[str] = set()  # of a sweep's groups most have the same units


def rows_of_units(cfg: Config, setup: Setup) -> list[str]:
    """A line for clients and one for owners of rows, where there are such, with least, median and most rows of one.

    What it says is read off the rows and no ε covers it; it goes to who runs, and into no row.

    Args:
      cfg: of a group of jobs.
      setup: of the group.
    """
    lines, dataset = [], setup.problem.dataset
    natural = cfg.is_federated and cfg.federated.partition == "natural"
    if setup.arrays.records is not None:
        sizes = np.asarray(setup.arrays.records.mask).sum(1)
        kind = dataset.unit if natural else cfg.federated.partition
        most = cfg.federated.records_per_client if natural else None
        lines.append(_line(sizes, "client", kind, "" if most is None else f", of each at most {most} kept"))
    if dataset.train_units is not None and not natural:
        sizes = np.unique(dataset.train_units, return_counts=True)[1]
        most = cfg.privacy.records_per_unit
        lines.append(_line(sizes, "owner", dataset.unit, "" if most is None else f", of each at most {most} kept"))
    return lines


def _line(sizes: np.ndarray, what: str, kind: str, kept: str) -> str:
    spread = f"{sizes.min():,}, {np.median(sizes):,.0f}, {sizes.max():,}"
    number = f"{len(sizes):,} {what}{'s' * (len(sizes) != 1)}"
    return f"{number} train ({kind}{kept}); rows of one: least, median, most {spread} (NOT private)."


def say_rows_of_units(cfg: Config, setup: Setup) -> None:
    """Print what ``rows_of_units`` gives, once a process.

    Args:
      cfg: of a group of jobs.
      setup: of the group.
    """
    for line in rows_of_units(cfg, setup):
        if line not in _said:
            _said.add(line)
            print(line, file=sys.stderr)  # which a progress bar puts above itself
