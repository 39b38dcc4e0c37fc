"""Checkpoints that jobs share, and texts as vectors that no run computes twice."""

from functools import lru_cache
from pathlib import Path
from typing import cast

import jax.numpy as jnp
import numpy as np

from dpjax.fetching.folders import models_folder
from dpjax.lengths import lengths_of
from dpjax.models import pretrained
from dpjax.models.embedding import computed_once, embed
from dpjax.models.pretrained import Encoded, Pretrained
from dpjax.models.transformers import Head, Plan
from dpjax.models.transformers.transformer import Pooling
from experiments.config import Config, ModelConf
from experiments.inputs import checkpoint_inputs, digest_of
from experiments.task import Tell
from experiments.withheld import is_withheld


def load_checkpoint(checkpoint: str) -> Pretrained:
    """A checkpoint as its files are now; the last two stay in memory."""
    return _loaded(checkpoint, digest_of(checkpoint_inputs(checkpoint)))


@lru_cache(maxsize=2)
def _loaded(checkpoint: str, digest: str) -> Pretrained:
    return pretrained.load(checkpoint)


def vectors(model: ModelConf, body: Pretrained, rows: Encoded, tell: Tell, *, keep: bool) -> np.ndarray:
    """One vector per text, computed once for each checkpoint and set of texts.

    Args:
      model: the model's part of the config.
      body: what reads.
      rows: the texts.
      tell: hears how far it is.
      keep: on disk for the next run.
    """
    head = Head("embed", pooling=pooling_of(model))

    def compute() -> np.ndarray:
        return embed(
            body.arch,
            body.params,
            rows.ids,
            head,
            plan=Plan(dtype=jnp.dtype(model.dtype)),
            lengths=lengths_of(rows, model.num_lengths),
            progress=lambda done, total: tell("embedding texts", done, total),
        )

    # A millionth is lost between one cut of lengths and another; that is no reason to compute again.
    depends_on = (body.digest, rows.ids, head, model.dtype)
    return computed_once(compute, features_folder(), *depends_on) if keep else compute()


def may_be_kept(cfg: Config) -> bool:
    """Whether what a checkpoint makes of the rows may lie open in the user's cache: not where they lie sealed.

    Args:
      cfg: of the run.
    """
    return not is_withheld(cfg)


def pooling_of(model: ModelConf) -> Pooling:
    """What a class is read from."""
    return cast(Pooling, model.pooling)  # which is one of them, as validation has seen


def features_folder() -> Path:
    """Where vectors of texts are kept."""
    return models_folder().parent / "features"
