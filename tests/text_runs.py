"""Runs of a tiny language model on a file of one's own."""

from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from experiments import jobs
from experiments.border import from_hydra
from experiments.config import CONF, Config
from experiments.task import Job


def composed(world: Path, file: str, *overrides: str) -> Config:
    """The config of a run on a file of a folder, with the checkpoint ``llama`` in it."""
    with initialize_config_dir(str(CONF.resolve()), version_base=None):
        cfg = compose(
            "config",
            overrides=[
                "data=own",
                f"data.path={world / file}",
                "model=pretrained",
                f"model.checkpoint={world / 'llama'}",
                "model.max_length=24",
                "model.num_lengths=1",
                "optimizer.num_steps=2",
                "optimizer.evaluate_every=2",
                "num_seeds=1",
                "privacy.delta=1e-3",
                *overrides,
            ],
        )
    return from_hydra(cfg)


def row_of(cfg: Config, folder: Path) -> dict[str, Any]:
    """What a run says of itself."""
    (outcome,) = jobs.run_group([Job(cfg, folder, "")])
    assert outcome.error is None, outcome.error
    return outcome.rows[0]
