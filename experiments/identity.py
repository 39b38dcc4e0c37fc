"""When two jobs share a program, are seeds of one point, or have the same result."""

import hashlib
import json
import math

from omegaconf import DictConfig, OmegaConf

from experiments.config import LOCAL_NOISE, SHARED_NOISE, Config, leaves

_NOT_OF_THE_RESULT = ("results_dir", "tracker", "experiment", "method", "task", "lanes", "figures")


def signature(cfg: DictConfig) -> str:
    """What fixes the compiled program: jobs with equal signatures share one compilation.

    Example:
      >>> from experiments.config import Config, PrivacyConf
      >>> one, two = (OmegaConf.structured(Config(privacy=PrivacyConf(epsilon=e))) for e in (1.0, 8.0))
      >>> signature(one) == signature(two)
      True
    """
    chosen = {path: OmegaConf.select(cfg, path) for path, is_traced in leaves(Config) if not is_traced}
    # A run beyond ε = 10 wants a larger capacity: a shape of its own.
    chosen["capacity"] = capacity_epsilon(cfg)
    # Faults cost time in every round: a run without any has none in its program.
    chosen["faults"] = (cfg.federated.straggler_rate > 0, cfg.federated.dropout_rate > 0)
    # Nor has a run without privacy reports or shares of noise.
    chosen["noised_by_clients"] = cfg.privacy.noise in (*LOCAL_NOISE, *SHARED_NOISE) and math.isfinite(
        cfg.privacy.epsilon
    )
    return json.dumps(chosen, default=OmegaConf.to_container, sort_keys=True)


def capacity_epsilon(cfg: DictConfig) -> float:
    """The ε that the cohorts' capacity supports: one value for all usual sweeps, so that they share a shape."""
    return 10.0 if math.isinf(cfg.privacy.epsilon) else max(10.0, float(cfg.privacy.epsilon))


def digest(cfg: DictConfig) -> str:
    """Hash of everything that decides a job's result; where it is written and tracked is left out."""
    return _hash(cfg, without=_NOT_OF_THE_RESULT)


def point_hash(cfg: DictConfig) -> str:
    """Hash that names a point of a sweep: the digest without seeds."""
    return _hash(cfg, without=(*_NOT_OF_THE_RESULT, "seed", "num_seeds"))


def _hash(cfg: DictConfig, without: tuple[str, ...]) -> str:
    content = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(content, dict)
    for name in without:
        content.pop(name, None)
    if not content.get("plugin"):
        content.pop("plugin", None)  # results of before there were plugins stay valid
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
