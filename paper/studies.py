"""Running what a profile asks for; whatever is finished already is not run again."""

import dataclasses
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from experiments.leaderboard import declare, rounds
from paper.profiles import Profile, Study

Tell = Callable[[str], None]


class Missing(NamedTuple):
    """What could not be run, and why, in one sentence."""

    name: str
    reason: str


def run_profile(profile: Profile, folder: Path, tell: Tell = print) -> list[Missing]:
    """Every study and task of a profile.

    Guarantees: one that can't run stops none of the others.

    Args:
      profile: what is run.
      folder: of the results; a folder per study, and ``leaderboard``.
      tell: hears what is being done.

    Returns:
      What did not run or not wholly.
    """
    missing: list[Missing] = []
    for study in profile.studies:
        lacking = lacks(study.data, study.models, study.extra)
        if lacking:
            missing.append(Missing(study.name, lacking))
            tell(f"{study.name}: skipped, {lacking}")
            continue
        began = time.monotonic()
        tell(f"{study.name} ...")
        if _run_study(study, folder):
            missing.append(Missing(study.name, "some of its runs failed; the message stands above"))
        tell(f"{study.name}: {time.monotonic() - began:.0f} s")
    protocol = dataclasses.replace(declare.protocol(), seeds=profile.seeds, epsilons=list(profile.epsilons))
    methods = declare.methods().values()
    for task in (declare.tasks()[name] for name in profile.tasks):
        name = f"leaderboard {task.name}"
        lacking = lacks(task.needs.get("data", []), task.needs.get("models", []))
        if lacking:
            missing.append(Missing(name, lacking))
            tell(f"{name}: skipped, {lacking}")
            continue
        began = time.monotonic()
        tell(f"{name} ...")
        fitting = [method for method in methods if task.setting in method.settings]
        if rounds.run_task(task, fitting, protocol, folder / "leaderboard"):
            missing.append(Missing(name, "some of its runs failed; the message stands above"))
        tell(f"{name}: {time.monotonic() - began:.0f} s")
    return missing


def lacks(data: Iterable[str], models: Iterable[str], extra: str = "") -> str:
    """What is not on this machine, with the command that brings it; empty if all is.

    Args:
      data: names of data sets.
      models: names of pretrained models.
      extra: a module.

    >>> lacks(["digits"], [])
    ''
    >>> lacks(["no_such_data"], [])
    'fetch it first: dpjax data fetch no_such_data'
    """
    fetch = []
    absent = [name for name in data if not _is_here(name)]
    if absent:
        fetch.append(f"dpjax data fetch {' '.join(absent)}")
    unfetched = [name for name in models if not _is_model_here(name)]
    if unfetched:
        fetch.append(f"dpjax models fetch {' '.join(unfetched)}")
    if extra and importlib.util.find_spec(extra) is None:
        fetch.append(f"pip install {extra}")
    return f"fetch it first: {'; '.join(fetch)}" if fetch else ""


def _is_here(name: str) -> bool:
    from dpjax.datasets import DatasetError, describe

    try:
        entry = describe(name)
    except DatasetError:
        return False
    return entry.fetched


def _is_model_here(name: str) -> bool:
    from dpjax.models.pretrained import checkpoint_folder

    return checkpoint_folder(name).is_dir()


def _run_study(study: Study, folder: Path) -> int:
    command = [sys.executable, "-m", "experiments.run", "-m", f"experiment={study.experiment}", *study.overrides]
    command += [f"results_dir={folder / study.name}", "figures=false"]
    return subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
