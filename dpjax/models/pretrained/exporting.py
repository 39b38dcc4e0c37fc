"""Adapters as PEFT lays them out, written so that what opens them scores as dpjax does."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.adapter_files import CONFIG, WEIGHTS
from dpjax.models.pretrained.checkpoints import CHECKPOINTS
from dpjax.models.pretrained.heads import check_head, is_native, label_fields, remove_head, write_head
from dpjax.models.pretrained.load_and_save import Pretrained
from dpjax.models.pretrained.names import NAMES, joined, modules, tensors
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat, write_safetensors
from dpjax.models.pretrained.tokens import TextTokenizer, write_tokenizer
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import Lora
from dpjax.models.transformers.transformer import Head


def save_adapters(
    folder: str | os.PathLike[str],
    arch: Architecture,
    params: Mapping[str, np.ndarray],
    lora: Lora,
    base: str | Pretrained,
    *,
    head: Head | None = None,
    labels: Sequence[str] = (),
    tokenizer: TextTokenizer | None = None,
) -> Path:
    """Saves adapters so that ``PeftModel.from_pretrained`` opens them, with the head that was trained beside them.

    Formal guarantees: what opens them scores the same. A classifier on BERT's pooler is stored as PEFT does it, for
    ``AutoModelForSequenceClassification``. That class computes any other classifier in another way, so it lies beside
    the adapters, with the script ``classify.py``, and PEFT refuses to put these adapters on that class. README.md in
    the folder says how it is opened.

    Args:
      folder: made if it is not there.
      arch: of the body.
      params: by path, each layer by itself; of the frozen parameters nothing is stored.
      lora: rank, scale and targets.
      base: the checkpoint they belong to, or its name; its name on the hub, or its folder, is written.
      head: of a classifier: how a text becomes the vector that it reads.
      labels: names of its classes; (): numbered.
      tokenizer: saved too if given, which ``classify.py`` needs.

    Returns:
      The folder.

    Raises:
      CheckpointError: no adapters among the parameters, or a classifier without its head.

    Example:
      >>> import tempfile, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora, query = tiny("llama"), Lora(rank=1, targets=("query",)), "layers.0.attention.query"
      >>> adapters = {f"{query}.lora.a": np.ones((16, 1), np.float32), f"{query}.lora.b": np.ones((1, 16), np.float32)}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sorted(path.name for path in save_adapters(folder, arch, adapters, lora, "owner/name").iterdir())
      ['README.md', 'adapter_config.json', 'adapter_model.safetensors']
    """
    if not any(path.endswith(".lora.a") for path in params):
        raise CheckpointError("params hold no adapters; tune with lora first, or use save.")
    classifies, masks = (
        "classifier.kernel" in params,
        "masked_head.bias" in params and (not head or head.task == "masked"),
    )
    native = classifies and is_native(arch, check_head(head))
    apart = classifies and not native
    prefixed = not apart and (native or masks or arch.causal)
    prefix = NAMES[arch.family].prefix if prefixed else ""
    stored, ranks, alphas = Flat(), dict[str, int](), dict[str, float]()
    for name, a, b in _joined(params, arch, lora.rank):
        stored[f"base_model.model.{prefix}{name}.lora_A.weight"] = np.ascontiguousarray(a.T)
        stored[f"base_model.model.{prefix}{name}.lora_B.weight"] = np.ascontiguousarray(b.T)
        if a.shape[1] != lora.rank:
            key = name.rsplit(".", 1)[-1]
            ranks[key], alphas[key] = a.shape[1], lora.alpha * a.shape[1] / lora.rank
    names = sorted(
        name.removesuffix(".lora_A.weight").removeprefix("base_model.model.") for name in stored if "lora_A" in name
    )
    depth = NAMES[arch.family].layers.count(".") + 1
    saved: list[str] = []
    if native:
        stored |= _whole(params, arch, ("classifier.", "pooler."))
        saved = sorted({name.removeprefix("base_model.model.").split(".")[0] for name in stored if "lora_" not in name})
    elif masks:
        saved = ["transform"]
        stored |= _whole(params, arch, ("masked_head.",))
    where, gguf_file, note = base_of(base)
    config = {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS" if native else "FEATURE_EXTRACTION" if apart else "CAUSAL_LM" if arch.causal else None,
        "base_model_name_or_path": where,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": arch.family == "gpt2",
        "target_modules": _pattern(names)
        if apart
        else sorted({name.split(".", depth + prefixed)[-1] for name in names}),
        "modules_to_save": saved or None,
        "inference_mode": True,
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    remove_head(folder)
    write_safetensors(stored, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    if tokenizer is not None:
        write_tokenizer(folder, tokenizer, arch, ended=classifies)
    if apart:
        write_head(folder, params, check_head(head), labels, base=where, gguf_file=gguf_file)
    classes = label_fields(labels, params["classifier.kernel"].shape[1]) if native else {}
    (folder / "README.md").write_text(_readme(config, classes, apart, masks, gguf_file, note), encoding="utf-8")
    return folder


def base_of(base: str | Pretrained) -> tuple[str, str | None, str]:
    """What others call a checkpoint: its name on the hub or its folder; the GGUF file in it; and what is to be said.

    Example:
      >>> base_of("minilm")
      ('sentence-transformers/all-MiniLM-L6-v2', None, '')
    """
    name, source = (base, "") if isinstance(base, str) else (base.name, base.source)
    path = Path(name).expanduser()
    if name in CHECKPOINTS:
        known = CHECKPOINTS[name]
        return known.repo, None, known.note if known.note and known.note in source else ""
    if path.is_file():
        return str(path.resolve().parent), path.name, ""
    if path.is_dir():
        only_gguf = (path / "model.gguf").is_file() and not (path / "config.json").is_file()
        return str(path.resolve()), "model.gguf" if only_gguf else None, ""
    return name, None, ""


def _joined(
    params: Mapping[str, np.ndarray], arch: Architecture, rank: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name of each module with an adapter, and its two matrices.

    Adapters on parts of one matrix, as GPT-2's for query, key and value, become one: their ``a`` side by side, and each
    ``b`` in the rows of its own ``a`` and the columns of its own part.
    """
    places = tensors(arch)
    for name, paths in modules(arch).items():
        adapted = [(i, path) for i, path in enumerate(paths) if f"{path}.lora.a" in params]
        if not adapted:
            continue
        if len(paths) == 1:
            yield name, params[f"{paths[0]}.lora.a"], params[f"{paths[0]}.lora.b"]
            continue
        place = places[f"{paths[0]}.kernel"]._replace(turned=False)
        none = {i: np.zeros((rank, size), np.float32) for i, size in enumerate(place.sizes)}
        bs = [joined(none | {i: np.asarray(params[f"{path}.lora.b"])}, place) for i, path in adapted]
        a = np.concatenate([np.asarray(params[f"{path}.lora.a"]) for _, path in adapted], axis=1)
        yield name, a, np.concatenate(bs)


def _whole(params: Mapping[str, np.ndarray], arch: Architecture, begins: tuple[str, ...]) -> Flat:
    """Parameters of a head as tensors of the model that has it."""
    plan = tensors(arch)
    return {
        f"base_model.model.{plan[path].name}": np.ascontiguousarray(array.T if plan[path].turned else array)
        for path, array in params.items()
        if path.startswith(begins) and plan[path].headed
    }


def _pattern(names: Sequence[str]) -> str:
    """One expression of whole names: PEFT finds none of them in a model that puts something before them."""
    import re

    return "|".join(sorted({re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name)) for name in names}))


def _readme(
    config: Mapping[str, Any], classes: Mapping[str, Any], apart: bool, masks: bool, gguf_file: str | None, note: str
) -> str:
    base = config["base_model_name_or_path"]
    options = f", gguf_file={gguf_file!r}" if gguf_file else ""
    kind = (
        "AutoModelForMaskedLM"
        if masks
        else "AutoModelForCausalLM"
        if config["task_type"] == "CAUSAL_LM"
        else "AutoModel"
    )
    if classes:
        kind = "AutoModelForSequenceClassification"
        options += (
            f", num_labels={len(classes['id2label'])}, id2label={classes['id2label']}, label2id={classes['label2id']}"
        )
    lines = [
        "---",
        "library_name: peft",
        *([f"base_model: {base}"] if not Path(base).is_absolute() else []),
        "---",
        "",
        f"LoRA adapters for `{base}`, trained with dpjax.",
        *(
            ["", f"They were trained on that model {note}; on other weights of it they score a little differently."]
            if note
            else []
        ),
        "",
    ]
    if apart:
        lines += [
            "Their classifier reads a vector that `AutoModelForSequenceClassification` does not compute, so it lies "
            "beside them. `classify.py` in this folder puts the three together:",
            "",
            "```python",
            "from classify import Classifier",
            "",
            'logits = Classifier().score(["a text"])',
            "```",
        ]
    else:
        lines += [
            "```python",
            "from peft import PeftModel",
            f"from transformers import {kind}",
            "",
            f"base = {kind}.from_pretrained({base!r}{options})",
            'model = PeftModel.from_pretrained(base, "THIS FOLDER").eval()',
            "```",
        ]
    return "\n".join([*lines, ""])
