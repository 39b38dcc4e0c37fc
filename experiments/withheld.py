"""Whose words may not lie open: errors on rows that are sealed, which may quote a cell."""

from typing import Any

from omegaconf.errors import OmegaConfBaseException

from dpjax.datasets.patterns import any_sealed

WITHHELD = "failed; what was wrong may quote a row, so that it is in failure.json, sealed, and not here."
"""In the place of an error, in a file that lies open."""

WITHHELD_HERE = "failed; what was wrong may quote a row, so that it was said at the terminal, and not here."
"""The same of a run by itself, which has no failure.json."""


def rows_lie_sealed(cfg: Any) -> bool:
    """Whether a run reads sealed rows.

    Args:
      cfg: of the run; one that was refused may be anything.
    """
    try:
        return any(map(any_sealed, (cfg.data.path, cfg.data.name.partition("?")[0])))
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, OmegaConfBaseException):
        return False  # nor can the run have read any


def is_withheld(cfg: Any) -> bool:
    """Whether what a run says of its rows may not lie open in a file; at its terminal it may be said.

    Args:
      cfg: of the run; one that was refused may be anything.
    """
    try:
        sealed = bool(cfg.governance.seal)
    except OmegaConfBaseException:  # it has no value, so that nothing ran
        sealed = False
    return sealed or rows_lie_sealed(cfg)
