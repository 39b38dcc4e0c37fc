"""When two jobs share a program, are seeds of one point, or have the same result."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.config import LOCAL_NOISE, SHARED_NOISE, Config, PrivacyConf
from experiments.fields import as_dict, leaves, value_of
from experiments.inputs import digest_of, inputs

NOT_OF_THE_RESULT = ("results_dir", "tracker", "experiment", "name", "method", "task", "lanes", "figures", "resume")
NOT_OF_THE_RESULT += ("notify", "checkpoint_seconds", "governance")  # results of before them stay valid
"""Fields that change no number of a result."""


def signature(cfg: Config) -> str:
    """What fixes the compiled program: jobs with equal signatures share one compilation.

    Example:
      >>> from experiments.config import Config, PrivacyConf
      >>> one, two = (Config(privacy=PrivacyConf(epsilon=e)) for e in (1.0, 8.0))
      >>> signature(one) == signature(two)
      True
    """
    chosen = {path: value_of(cfg, path) for path, is_traced in leaves() if not is_traced}
    # A run beyond ε = 10 wants a larger capacity: a shape of its own.
    chosen["capacity"] = capacity_epsilon(cfg.privacy)
    # Faults cost time in every round: a run without any has none in its program.
    chosen["faults"] = (cfg.federated.straggler_rate > 0, cfg.federated.dropout_rate > 0)
    # Nor has a run without privacy reports or shares of noise.
    chosen["noised_by_clients"] = cfg.privacy.noise in (*LOCAL_NOISE, *SHARED_NOISE) and cfg.privacy.is_private
    return json.dumps(chosen, sort_keys=True)


def capacity_epsilon(privacy: PrivacyConf) -> float:
    """The ε that the cohorts' capacity supports: one value for all usual sweeps, so that they share a shape."""
    return 10.0 if not privacy.is_private else max(10.0, privacy.epsilon)


def digest(cfg: Config, files: dict[str, str] | None = None) -> str:
    """Hash of everything that decides a job's result, in two parts: its config, and the code and files that it reads.

    Where it is written and tracked is left out.

    Args:
      cfg: of the job.
      files: what ``experiments.inputs.inputs`` found before the job ran; None: as they are now.
    """
    return f"{_hash(cfg, without=NOT_OF_THE_RESULT)}-{digest_of(inputs(cfg) if files is None else files)}"


def is_finished(cfg: Config, rows: Sequence[Mapping[str, Any]], found: str) -> bool:
    """Whether rows on disk are the result of a job as it stands now.

    Formal guarantees: with ``resume=same``, only if the config, dpjax's numbers and the bytes of every file are the
    same. A field that the config did not have when they were made must be at its default. With ``resume=config`` code
    and files may differ.

    Args:
      cfg: of the job.
      rows: that were found.
      found: the digest beside them.
    """
    # A plugin's row names what was imported only as it ran, too.
    mine = digest(cfg, inputs(cfg, also=_files_of(rows)))
    config, _, files = mine.partition("-")
    was, _, read = found.partition("-")
    if files != read and cfg.resume != "config":
        return False
    return config == was or (bool(rows) and _differs_in_new_fields_only(rows[0].get("config"), cfg))


def _files_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    try:
        return [str(name) for name in json.loads(rows[0]["inputs"])]
    except (LookupError, TypeError, ValueError, RecursionError):
        return []


def _differs_in_new_fields_only(written: Any, cfg: Config) -> bool:
    try:
        old = json.loads(written)
    except (TypeError, ValueError, RecursionError):
        return False
    new, plain = (json.loads(written_config(each)) for each in (cfg, Config()))

    def agree(old: Any, new: Any, plain: Any) -> bool:
        if not (isinstance(old, dict) and isinstance(new, dict) and isinstance(plain, dict)):
            return old == new
        return old.keys() <= new.keys() and all(
            agree(old[name], new[name], plain.get(name)) if name in old else new[name] == plain.get(name)
            for name in new
        )

    for each in (old, new):
        if not isinstance(each, dict):
            return False
        for name in NOT_OF_THE_RESULT:
            each.pop(name, None)
    return agree(old, new, plain)


def written_config(cfg: Config) -> str:
    """The resolved config as a row has it: without the password of a ledger."""
    return re.sub(r"(://[^:/@\"]+):[^@\"]*@", r"\1:***@", json.dumps(as_dict(cfg))).replace("Infinity", '"inf"')


def point_hash(cfg: Config) -> str:
    """Hash that names a point of a sweep: the digest without seeds."""
    return _hash(cfg, without=(*NOT_OF_THE_RESULT, "seed", "num_seeds"))


def _hash(cfg: Config, without: tuple[str, ...]) -> str:
    content = as_dict(cfg)
    for name in without:
        content.pop(name, None)
    if not content.get("plugin"):
        content.pop("plugin", None)  # results of before there were plugins stay valid
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
