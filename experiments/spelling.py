"""Overrides as they are written: one spelling of each number, and the folder of a job that is named after them."""

import hashlib
import re

from omegaconf import OmegaConf

from experiments.fields import types


def job_dir(override_dirname: str) -> str:
    """Folder name of a job: its overrides, cut and hashed where a file system would refuse their length.

    A number has one name, however it is spelt.

    Example:
      >>> job_dir("privacy.epsilon=1.0,privacy.clip_norm=1e-1")
      'privacy.epsilon=1,privacy.clip_norm=0.1'
    """
    name = ",".join(map(one_spelling, re.split(r",(?=[\w.+~/@]+=)", override_dirname)))
    name = name.replace("/", "_") or "defaults"
    if len(name.encode()) <= 200:
        return name
    return f"{name[:160]}...{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def one_spelling(override: str) -> str:
    """An override of a number as every other spelling of it would be; any other as it is.

    Example:
      >>> one_spelling("privacy.epsilon=1.0"), one_spelling("optimizer.learning_rate=1e-5"), one_spelling("model=mlp")
      ('privacy.epsilon=1', 'optimizer.learning_rate=1e-05', 'model=mlp')
    """
    name, _, text = override.partition("=")
    if types().get(name.lstrip("+")) not in (int, float):
        return override
    try:
        value = float(text)
        whole = value.is_integer() and abs(value) < 2**53
    except ValueError:
        return override
    return f"{name}={int(value) if whole else value!r}"


def sweep_name(name: str, experiment: str) -> str:
    """What a sweep is called.

    Example:
      >>> sweep_name("", "quickstart"), sweep_name("mine", "quickstart")
      ('quickstart', 'mine')
    """
    return str(name) or str(experiment)


OmegaConf.register_new_resolver("job_dir", job_dir, replace=True)
OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
