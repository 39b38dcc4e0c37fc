"""A classifier that ``transformers`` has no class for: two files beside its body, and a script that scores texts."""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.tensor_files import (
    CheckpointError,
    Flat,
    read_json,
    read_tensors,
    refuse_non_finite,
    write_safetensors,
)
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import shown
from dpjax.models.transformers.transformer import Head

_WEIGHTS, _CONFIG, _SCRIPT = "classifier.safetensors", "classifier.json", "classify.py"


def is_native(arch: Architecture, head: Head) -> bool:
    """Whether ``AutoModelForSequenceClassification`` computes the same: BERT's pooler and a linear layer.

    For a Llama or a GPT-2 its classifier has no bias and reads the last token as it is; a mean over tokens, or a vector
    scaled to one length, it knows for no model.
    """
    return head.pooling == "pooler" and arch.family in ("bert", "roberta", "xlm-roberta", "distilbert")


def check_head(head: Head | None) -> Head:
    """The head that goes with a classifier.

    Raises:
      CheckpointError: none was given, so that nobody could say how a text becomes the vector that is classified.
    """
    if head is None or head.task != "classify":
        raise CheckpointError(
            f"head is {head}, but params hold a classifier; pass the Head it was trained with, since pooling is part "
            "of the model."
        )
    return head


def label_fields(labels: Sequence[str], num_classes: int) -> dict[str, Any]:
    """``id2label`` and ``label2id`` as ``transformers`` has them.

    Raises:
      CheckpointError: not as many labels as classes, or the same one twice.

    Example:
      >>> label_fields(["ham", "spam"], 2)["label2id"]
      {'ham': 0, 'spam': 1}
    """
    names = [str(label) for label in labels] or [f"LABEL_{i}" for i in range(num_classes)]
    if len(names) != num_classes or len(set(names)) != len(names):
        raise CheckpointError(
            f"labels are {shown(names)}, but must be {num_classes} different ones, one for each class."
        )
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def write_head(
    folder: Path,
    params: Mapping[str, np.ndarray],
    head: Head,
    labels: Sequence[str],
    *,
    base: str | None = None,
    gguf_file: str | None = None,
) -> None:
    """Writes the classifier, how its vector is pooled, its labels, and the script.

    Args:
      folder: of the body or of its adapters.
      params: ``classifier.kernel`` and ``classifier.bias`` among them.
      head: pooling and scale of the vector.
      labels: names of the classes; (): numbered.
      base: the model that adapters belong to; None: the body is in the folder.
      gguf_file: where the base is in that format.
    """
    if head.pooling == "pooler":
        raise CheckpointError("head.pooling is 'pooler', which only a BERT has; use mean, first or last.")
    kernel, bias = params["classifier.kernel"], params["classifier.bias"]
    stored = {"weight": np.ascontiguousarray(kernel.T), "bias": np.ascontiguousarray(bias)}
    write_safetensors(stored, folder / _WEIGHTS)
    facts = {"pooling": head.pooling, "normalized": head.normalized, **label_fields(labels, kernel.shape[1])}
    facts |= {"base_model_name_or_path": base, "gguf_file": gguf_file}
    (folder / _CONFIG).write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    script = files("dpjax.models.pretrained").joinpath("classify.py.txt").read_text(encoding="utf-8")
    (folder / _SCRIPT).write_text(script, encoding="utf-8")


def remove_head(folder: Path) -> None:
    """Takes away the files of an older head, which would go with another body."""
    for name in (_WEIGHTS, _CONFIG, _SCRIPT):
        (folder / name).unlink(missing_ok=True)


def has_head(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has such a classifier."""
    return (Path(folder) / _WEIGHTS).exists()


def read_head(folder: str | os.PathLike[str], arch: Architecture) -> Flat:
    """The classifier's two parameters, as ``write_head`` wrote them.

    Raises:
      CheckpointError: damaged, or of another width.
    """
    path = Path(folder) / _WEIGHTS
    read_json(Path(folder) / _CONFIG)
    stored = read_tensors(path)
    weight, bias = stored.get("weight"), stored.get("bias")
    if weight is None or bias is None or weight.ndim != 2 or bias.shape != weight.shape[:1]:
        shapes = {name: array.shape for name, array in stored.items()}
        raise CheckpointError(f"{path} holds {shown(shapes)}, but must have a weight and its bias; take both anew.")
    if weight.shape[1] != arch.width:
        raise CheckpointError(
            f"{path}: weight has shape {weight.shape} for a model of width {arch.width}; it belongs to another model."
        )
    for name, array in stored.items():
        refuse_non_finite(array, str(path), name)
    return {"classifier.kernel": weight.T, "classifier.bias": bias}
