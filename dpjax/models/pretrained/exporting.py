"""Adapters as PEFT lays them out, written so that what opens them scores as dpjax does."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.models.pretrained.adapter_files import CONFIG, WEIGHTS
from dpjax.models.pretrained.adapter_tensors import adapter_tensors, pattern_of, targets_of
from dpjax.models.pretrained.bases import base_of
from dpjax.models.pretrained.heads import check_head, is_native, label_fields, remove_head, write_head
from dpjax.models.pretrained.load_and_save import Pretrained
from dpjax.models.pretrained.names import NAMES, modules, tensors
from dpjax.models.pretrained.soft_prompts import refusal, soft_prompt_tensor
from dpjax.models.pretrained.tensor_files import CheckpointError, Flat, write_safetensors
from dpjax.models.pretrained.tokens import TextTokenizer, write_tokenizer
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.layers import Ia3, Lora, SoftPrompt
from dpjax.models.transformers.transformer import Head

_KINDS = {
    "LORA": "LoRA adapters",
    "IA3": "IA³ vectors",
    "PROMPT_TUNING": "A soft prompt",
    "PREFIX_TUNING": "A trained prefix",
}

_ROBERTA = ["lm_head.dense", "lm_head.layer_norm"]
_MASKED = {
    "bert": ["transform"],
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "distilbert": ["vocab_transform", "vocab_layer_norm"],
    "modernbert": ["head.dense", "head.norm"],
}
"""Family → modules of its head over masked tokens, but for the scores' bias, which PEFT loads by its name."""


def save_adapters(
    folder: str | os.PathLike[str],
    arch: Architecture,
    params: Mapping[str, np.ndarray],
    lora: Lora | Ia3 | SoftPrompt,
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
      lora: rank, scale and targets; or which vectors there are.
      base: the checkpoint they belong to, or its name; its name on the hub, or its folder, is written.
      head: of a classifier: how a text becomes the vector that it reads.
      labels: names of its classes; (): numbered.
      tokenizer: saved too if given, which ``classify.py`` needs.

    Returns:
      The folder.

    Raises:
      CheckpointError: no adapters among the parameters, a classifier without its head, or what no file of PEFT means:
        a prefix where positions are learned or windows hide it, a prompt before a pooler.

    Example:
      >>> import tempfile, numpy as np
      >>> from dpjax.models.transformers import Lora, tiny
      >>> arch, lora, query = tiny("llama"), Lora(rank=1, targets=("query",)), "layers.0.attention.query"
      >>> adapters = {f"{query}.lora.a": np.ones((16, 1), np.float32), f"{query}.lora.b": np.ones((1, 16), np.float32)}
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sorted(path.name for path in save_adapters(folder, arch, adapters, lora, "owner/name").iterdir())
      ['README.md', 'adapter_config.json', 'adapter_model.safetensors']
    """
    if not any({"lora", "ia3", "prompt", "prefix"} & set(path.split(".")) for path in params):
        raise CheckpointError("params hold no adapters; tune with lora first, or use save.")
    classifies, masks = (
        "classifier.kernel" in params,
        "masked_head.bias" in params and (not head or head.task == "masked"),
    )
    native = classifies and is_native(arch, check_head(head))
    apart = classifies and not native
    prefixed = not apart and (native or masks or arch.causal)
    prefix = NAMES[arch.family].prefix if prefixed else ""
    soft = isinstance(lora, SoftPrompt)
    if isinstance(lora, SoftPrompt):
        if native or masks:
            raise CheckpointError(
                f"a {arch.family} with {lora} and a head on {'its pooler' if native else 'its tokens'} has no layout "
                "in PEFT that means the same; use another pooling, or lora."
            )
        stored, config = soft_prompt_tensor(params, lora, arch)
    else:
        stored, config = adapter_tensors(params, lora, arch, prefix)
    if not soft and config["peft_type"] == "LORA":
        names = sorted(
            name.removesuffix(".lora_A.weight").removeprefix("base_model.model.") for name in stored if "lora_A" in name
        )
        depth, known = NAMES[arch.family].layers.count(".") + 1 + prefixed, [prefix + name for name in modules(arch)]
        config["target_modules"] = pattern_of(names, known) if apart else targets_of(names, known, depth)
    saved: list[str] = []
    if native:
        stored |= _whole(params, arch, ("classifier.", "pooler."))
        owned = {tensor.name for tensor in tensors(arch).values() if tensor.headed}
        heads = {name.removeprefix("base_model.model.") for name in stored}
        saved = sorted({name.split(".")[0] for name in heads & owned})
    elif masks:
        saved = _MASKED[arch.family]
        stored |= _whole(params, arch, ("masked_head.",))
    where, gguf_file, note = base_of(base)
    config |= {
        "task_type": "SEQ_CLS" if native else "FEATURE_EXTRACTION" if apart else "CAUSAL_LM" if arch.causal else None,
        "base_model_name_or_path": where,
        "inference_mode": True,
    }
    if not soft:
        config["modules_to_save"] = saved or None
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


def opens_in_peft(arch: Architecture, adapters: Lora | Ia3 | SoftPrompt, head: Head) -> bool:
    """Whether ``save_adapters`` knows a layout in which they mean the same to PEFT: a prompt may have none.

    Formal guarantees: where it says so, ``save_adapters`` does not refuse them for their kind.

    Args:
      arch: of the body.
      adapters: what was added to it.
      head: what comes out at the end.

    Returns:
      True or False.

    Example:
      >>> from dpjax.models.transformers import tiny
      >>> [opens_in_peft(tiny(family), SoftPrompt(2, everywhere=True), Head("causal")) for family in ("llama", "gpt2")]
      [True, False]
    """
    if not isinstance(adapters, SoftPrompt):
        return True
    apart = head.task == "causal" or (head.task == "classify" and not is_native(arch, head))
    return apart and not refusal(arch, adapters.everywhere)


def _whole(params: Mapping[str, np.ndarray], arch: Architecture, begins: tuple[str, ...]) -> Flat:
    """Parameters of a head as tensors of the model that has it."""
    plan = tensors(arch)
    return {
        f"base_model.model.{plan[path].name}": np.ascontiguousarray(array.T if plan[path].turned else array)
        for path, array in params.items()
        if path.startswith(begins) and plan[path].headed
    }


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
        f"{_KINDS[config['peft_type']]} for `{base}`, trained with dpjax.",
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
