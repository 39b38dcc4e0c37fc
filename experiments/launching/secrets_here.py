"""Secrets in the environment of a sweep's driver: written to no disk for its tasks, which have them by other means."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from dpjax.encryption.keys import KINDS, SOURCE, key_in
from experiments.config import Config, ConfigError
from experiments.withheld import is_withheld

_HANDED_ON = ("JAX_", "XLA_", "HF_")
_OF_DPJAX = {
    *("DPJAX_DATA_DIR", "DPJAX_MODELS_DIR", "DPJAX_CACHE_DIR", "DPJAX_PROGRAM_CACHE_MIB", "DPJAX_TRACEBACK"),
    *("DPJAX_LEDGER", SOURCE, "DPJAX_SIGNING_KEY"),
}
"""Of dpjax's own variables those that say where things are; any other may be a secret, as one of a later version."""
_KEYS, _PIN, _TOKEN, _LEDGER = SOURCE, "DPJAX_PKCS11_PIN", "DPJAX_TOKEN", "DPJAX_LEDGER"
_WORDS = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY\b|_PIN\b|AUTH")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@|\bpassword\s*=|PRIVATE KEY", re.IGNORECASE)


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a task gets from the driver, by a file or a message: none that holds a secret.

    Args:
      environment: of the driver.

    Example:
      >>> handed_on({"DPJAX_DATA_DIR": "d", "DPJAX_PKCS11_PIN": "1234", "HF_TOKEN": "t", "HOME": "h"})
      {'DPJAX_DATA_DIR': 'd'}
    """
    secret = _secret(environment)
    return {
        name: value
        for name, value in environment.items()
        if name not in secret and (name in _OF_DPJAX or name.startswith(_HANDED_ON))
    }


def needed(cfgs: Iterable[Config], environment: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets of the driver's environment without which a task of a sweep could not do its work.

    Args:
      cfgs: of the sweep's jobs.
      environment: of the driver.

    Example:
      >>> from experiments.config import GovernanceConf
      >>> sealed = Config(governance=GovernanceConf(name="local", seal=True))
      >>> needed([sealed], {"DPJAX_KEYS": "env:MY_KEY", "MY_KEY": "…", "DPJAX_WEBHOOK": "…"})
      ('MY_KEY',)
      >>> needed([Config()], {"DPJAX_KEYS": "env:MY_KEY", "MY_KEY": "…"})
      ()
    """
    cfgs = list(cfgs)
    wanted: set[str] = set()
    kind, _, place = environment.get(_KEYS, "").partition(":")
    if kind in ("env", "pkcs11") and any(is_withheld(cfg) for cfg in cfgs):
        wanted.add(place if kind == "env" else _PIN)
    if any(cfg.governance.name != "off" for cfg in cfgs):
        wanted |= {_TOKEN, _LEDGER}
    return tuple(sorted(wanted & _secret(environment)))


def refuse_unset(names: Iterable[str], setup: Iterable[str]) -> None:
    """Refuse a sweep on SLURM whose tasks could not come by a secret, before anything is submitted.

    Args:
      names: from ``needed``.
      setup: lines of shell before a task, which may set them.

    Raises:
      ConfigError: there is one, and no line that could set it.
    """
    names, lines = list(names), " ".join(setup)
    if names and not lines.strip():
        raise ConfigError(
            f"hydra/launcher=slurm_batched would leave {' and '.join(names)} on disks of the cluster, so tasks don't "
            "get it from here; set DPJAX_KEYS=file:PATH of a key file that all nodes share (chmod 600), or let tasks "
            "read the secret by hydra.launcher.setup=['. FILE'] of a file of yours with mode 600."
        )


def lacking(names: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """The secrets that a node is to have by its own means, and has not.

    Args:
      names: from ``needed``.
      environment: of the node.

    Example:
      >>> lacking(["DPJAX_TOKEN"], {})
      ['DPJAX_TOKEN']
    """
    return [name for name in names if not environment.get(name)]


@contextmanager
def kept_back() -> Iterator[None]:
    """This process without those secrets in its environment: sbatch would write all of that to a disk."""
    held = {name: os.environ.pop(name) for name in _secret(os.environ)}
    try:
        yield
    finally:
        os.environ.update(held)


def _secret(environment: Mapping[str, str]) -> set[str]:
    """The variables that hold a secret, of those that dpjax reads."""
    kind, _, place = environment.get(_KEYS, "").partition(":")
    found = {place} & environment.keys() if kind == "env" else set[str]()
    for name, value in environment.items():
        ours = name.startswith("DPJAX_")
        if not ours and not name.startswith(_HANDED_ON):
            continue
        named = name not in _OF_DPJAX and (ours or bool(name.startswith("HF_") and _WORDS.search(name)))
        misplaced = name == _KEYS and (kind not in KINDS or key_in(place))
        if named or misplaced or _PASSWORD.search(value):
            found.add(name)
    return found
