"""Whose words may not lie open: errors on rows that are sealed, which may quote a cell."""

from typing import Any

from omegaconf.errors import OmegaConfBaseException

from dpjax.datasets.patterns import any_sealed
from dpjax.results.sealing import held_keys, is_of_keys

WITHHELD = "failed; what was wrong may quote a row, so that it is in failure.json, sealed, and not here."
"""In the place of an error, in a file that lies open."""
UNTOLD = "failed; what was wrong may quote a row and could not be sealed, so that the terminal alone was told."
"""The same, where no key is there to seal it."""

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


def in_an_open_file(cfg: Any, error: Exception) -> str | None:
    """What a file that lies open says of an error in its place; None: the error, which may be told.

    Args:
      cfg: of the run.
      error: that it ended by.
    """
    if not is_withheld(cfg) or is_of_keys(error):
        return None
    return UNTOLD if keys_are_lacking() else WITHHELD


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


def keys_are_lacking() -> bool:
    """Whether this process holds no keys; those that are there are held from now on."""
    from dpjax.encryption.errors import EncryptionError

    try:
        held_keys()
    except EncryptionError:
        return True
    return False
