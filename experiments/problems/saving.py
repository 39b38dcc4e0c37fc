"""What a run has trained, as files that other tools open."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from dpjax.datasets.targets import Target, write_target
from dpjax.keeping import write_whole
from dpjax.models.layer_stacks import flat_paths, unstacked
from dpjax.results import write_claim
from dpjax.results.claims import Row, text
from experiments.config import Config
from experiments.own_data import classes_are_learnt


def save_model(
    cfg: Config,
    folder: Path,
    trained: Any,
    row: Row,
    labels: Sequence[str] = (),
    target: Target | None = None,
    features: Sequence[str] = (),
) -> Path:
    """Writes the trained parameters: adapters as PEFT does, a tuned model as ``transformers`` does, others by path.

    What PEFT or ``transformers`` opens scores as the run did, with its labels. README.md and privacy.json in the folder
    say what may be claimed of it.

    Args:
      cfg: of the job.
      folder: made if it is not there.
      trained: parameters at the end of a run.
      row: results row of the run.
      labels: names of the classes; (): numbered.
      target: the number that it predicts, whose range goes with it; None: it says classes.
      features: names of the inputs of a table, in their order; (): it has none.
    """
    named = _save(cfg, folder, trained, labels) and classes_are_learnt(cfg.data, text(row, "learnt"))
    if features and not text(row, "learnt"):  # of what was read off the rows the names tell too
        _write_inputs(cfg, folder, features, labels)
    if target is not None:
        learnt = text(row, "learnt").split("; ")
        write_target(folder, target, learnt=f"range of {target.name}" in learnt)
    weights = "average" if cfg.optimizer.ema else "last"
    write_claim(folder, row, weights=weights, class_names=named, model_hash=_hash_of(folder, row))
    return folder


def _write_inputs(cfg: Config, folder: Path, features: Sequence[str], labels: Sequence[str]) -> None:
    """What a table's model wants to be given, and what its outputs stand for."""
    columns = OmegaConf.to_container(OmegaConf.create(dict(cfg.data.columns)))
    said = {"inputs": list(features), "outputs": list(labels), "columns": columns}
    write_whole(folder / "inputs.json", (json.dumps(said, ensure_ascii=False, indent=1) + "\n").encode())


def _hash_of(folder: Path, row: Row) -> str:
    """Of the model's files, where a ledger has paid for them."""
    if not text(row, "ledger_run"):
        return ""
    from dpjax.governance.files import digest_of, hashes_of

    return digest_of(hashes_of(folder))


def _save(cfg: Config, folder: Path, trained: Any, labels: Sequence[str]) -> bool:
    """Writes the files of a model, and says whether the names of classes are in them."""
    if cfg.model.name == "pretrained":
        from dpjax.models import pretrained
        from experiments.problems import language

        body = language.load_checkpoint(cfg.model.checkpoint)
        features = cfg.tuning.name == "head" and cfg.tuning.cache_features and cfg.model.task == "classify"
        if not features:
            classes = trained["classifier"]["bias"].shape[0] if cfg.model.task == "classify" else 0
            tuned = language.make_tuned(cfg.model, cfg.tuning, body, classes)
            sizes = tuned.plan.sizes(body.arch.num_layers)
            whole = flat_paths(tuned.bind(tuned.frozen)(trained))
            params = unstacked({path: np.asarray(leaf, np.float32) for path, leaf in whole.items()}, sizes)
            head = language.head_of(cfg.model, classes)
            labels = labels if classes else ()
            adapters = language.method_of(cfg.tuning).adapters
            if adapters is not None and pretrained.opens_in_peft(body.arch, adapters, head):
                tokenizer = body.tokenizer
                pretrained.save_adapters(
                    folder, body.arch, params, adapters, body, head=head, labels=labels, tokenizer=tokenizer
                )
                return bool(labels)
            if cfg.tuning.name not in ("prompt", "prefix"):
                pretrained.save(folder, body.arch, params, body.tokenizer, head=head, labels=labels)
                return bool(labels)
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    flat = {path: np.ascontiguousarray(leaf) for path, leaf in flat_paths(trained).items()}
    save_file(flat, folder / "trained.safetensors")
    return False
