"""Load a checkpoint from the cache or a folder, and save one that ``transformers`` and PEFT open."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dpjax.fetching.folders import checkpoint_folder
from dpjax.models.pretrained.chat_templates import ChatTemplate, read_chat_template, special_texts
from dpjax.models.pretrained.checkpoints import CHECKPOINTS
from dpjax.models.pretrained.copies import digest, verify
from dpjax.models.pretrained.gguf_files import read_gguf
from dpjax.models.pretrained.heads import (
    check_head,
    has_head,
    is_native,
    label_fields,
    read_head,
    remove_head,
    write_head,
)
from dpjax.models.pretrained.other_formats import how_to_convert, refuse_other_tokenizers, refuse_other_weights
from dpjax.models.pretrained.tensor_files import (
    CheckpointError,
    Flat,
    read_json,
    read_safetensors,
    to_parameters,
    to_tensors,
    write_safetensors,
)
from dpjax.models.pretrained.tokens import TextTokenizer, read_tokenizer, write_tokenizer
from dpjax.models.transformers.architecture import Architecture
from dpjax.models.transformers.config_fields import ArchitectureError
from dpjax.models.transformers.families import FAMILIES
from dpjax.models.transformers.hub_config import from_hub_config, to_hub_config
from dpjax.models.transformers.transformer import Head


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint in memory.

    Attributes:
      name: what it was loaded as.
      arch: its architecture.
      params: its parameters by path, each layer by itself, NumPy; read-only.
      tokenizer: its tokenizer.
      source: where it came from, and what a table has to say of it.
      digest: hash of its files.
    """

    name: str
    arch: Architecture
    params: Flat = field(repr=False)
    tokenizer: TextTokenizer
    source: str
    digest: str

    @property
    def num_parameters(self) -> int:
        """Numbers in it."""
        return sum(array.size for array in self.params.values())


def load(name_or_path: str | os.PathLike[str], *, cache_dir: str | os.PathLike[str] | None = None) -> Pretrained:
    """Loads a pretrained model: from the cache by name, or from a folder or a GGUF file. It never uses the network.

    Formal guarantees: all or nothing: every tensor of the architecture is there with its shape, none is left over, the
    tokenizer fits the embedding, and the files of a fetched copy are those that were fetched.

    Args:
      name_or_path: ``"minilm"``, ``"smollm2"``, ``owner/name`` of the hub, a folder with config.json, model.safetensors
        (or its shards) and tokenizer.json, or the path of a ``.gguf`` file.
      cache_dir: None: ``DPJAX_MODELS_DIR`` or the user's cache folder.

    Returns:
      A ``Pretrained``: architecture, parameters by path as NumPy arrays, tokenizer, source and digest.

    Raises:
      CheckpointError: not there, damaged, incomplete, with something extra, or with a tokenizer of another model.
      ArchitectureError: an architecture that dpjax does not build.

    Example:
      >>> import tempfile, jax
      >>> from dpjax.models.pretrained import word_tokenizer
      >>> from dpjax.models.transformers import tiny
      >>> from dpjax.models.tuning import fresh_parameters
      >>> arch = tiny("bert")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     _ = save(folder, arch, fresh_parameters(arch, jax.random.key(0)), word_tokenizer(["a", "word"]))
      ...     load(folder).arch == arch
      True
    """
    name = os.fspath(name_or_path)
    path = Path(name).expanduser()
    if name in CHECKPOINTS or not path.exists():
        path = checkpoint_folder(name, cache_dir)
        if not path.is_dir():
            if name not in CHECKPOINTS and ("/" not in name or name.startswith(("/", "."))):
                raise CheckpointError(
                    f"model.checkpoint={name!r} is neither a folder nor a known name; use {', '.join(CHECKPOINTS)}, a "
                    "repository as owner/name, or the path of a folder or .gguf file."
                )
            raise CheckpointError(
                f"model.checkpoint={name!r} is not on this machine; fetch it with `dpjax models fetch {name}`."
            )
    if path.is_file():
        how = how_to_convert(path)
        if how is not None:
            raise CheckpointError(f"{path} {how}.")
        return _load_gguf(name, path, f"file {path.name}", "")
    source = verify(path)
    if not (path / "config.json").is_file() and (path / "model.gguf").is_file():
        return _load_gguf(name, path / "model.gguf", source, digest(path))
    refuse_other_weights(path)
    arch, own_code = _architecture(path / "config.json")
    params = to_parameters(read_safetensors(path), arch, name, headless=has_head(path))
    if has_head(path):
        params |= read_head(path, arch)
    refuse_other_tokenizers(path)
    special, chat = _special(path)
    tokenizer = replace(read_tokenizer(path / "tokenizer.json", special, arch.vocab_size), chat=chat)
    return Pretrained(name, arch, _frozen(params), tokenizer, source + own_code, digest(path))


def _architecture(path: Path) -> tuple[Architecture, str]:
    """The architecture, and what to say of code that the checkpoint brings: it is never run."""
    config = read_json(path)
    own_code = "; its own code (auto_map) was not run" if config.get("auto_map") else ""
    try:
        return from_hub_config(config), own_code
    except ArchitectureError as error:
        raise ArchitectureError(f"{path}: {str(error).rstrip('.')}{own_code}.") from None


def _load_gguf(name: str, path: Path, source: str, known_digest: str) -> Pretrained:
    arch, stored, tokenizer, kinds = read_gguf(path)
    params = _frozen(to_parameters(stored, arch, name, "its header"))
    rounded = "" if not kinds or kinds.split("_")[0] in source or "rounded" in source else f"; rounded to {kinds}"
    from dpjax.fetching.archives import sha256_of

    return Pretrained(name, arch, params, tokenizer, source + rounded, known_digest or sha256_of(path))


def save(
    folder: str | os.PathLike[str],
    arch: Architecture,
    params: Mapping[str, np.ndarray],
    tokenizer: TextTokenizer | None = None,
    *,
    head: Head | None = None,
    labels: Sequence[str] = (),
) -> Path:
    """Saves a model as a folder that ``transformers`` and ``load`` open: config, safetensors, tokenizer.

    Formal guarantees: what opens it scores the same. A classifier on BERT's pooler goes into the model, for
    ``AutoModelForSequenceClassification``; any other, which that class would compute otherwise, lies beside the body,
    for ``AutoModel`` and the script ``classify.py`` in the folder.

    Args:
      folder: made if it is not there.
      arch: of the body.
      params: by path, each layer by itself; a classifier or a vocabulary's head goes with the body.
      tokenizer: saved too if given.
      head: of a classifier: how a text becomes the vector that it reads.
      labels: names of its classes; (): numbered.

    Returns:
      The folder.

    Raises:
      CheckpointError: a parameter without a place in such a checkpoint, such as an adapter that was not merged; a
        classifier without its head.

    Example:
      >>> import tempfile, jax
      >>> from dpjax.models.transformers import tiny
      >>> from dpjax.models.tuning import fresh_parameters
      >>> arch = tiny("llama")
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     sorted(path.name for path in save(folder, arch, fresh_parameters(arch, jax.random.key(0))).iterdir())
      ['config.json', 'model.safetensors']
    """
    folder = Path(folder)
    config = to_hub_config(arch)
    classifies = "classifier.kernel" in params
    native = classifies and is_native(arch, check_head(head))
    kind = FAMILIES[arch.family].classes
    if native:
        config["architectures"] = [f"{kind}ForSequenceClassification"]
        config |= label_fields(labels, params["classifier.kernel"].shape[1])
    elif classifies:
        config["architectures"] = [f"{kind}Model"]
    elif "masked_head.bias" in params:
        config["architectures"] = [f"{kind}ForMaskedLM"]
    body = {path: array for path, array in params.items() if native or not path.startswith("classifier.")}
    headless = config["architectures"] == [f"{kind}Model"]
    stored = to_tensors(body, arch, not headless)
    folder.mkdir(parents=True, exist_ok=True)
    remove_head(folder)
    write_safetensors(stored, folder / "model.safetensors")
    (folder / "generation_config.json").unlink(missing_ok=True)
    if tokenizer is not None and arch.causal and not classifies:
        config |= _write_generation(folder, tokenizer)
    (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    if tokenizer is not None:
        write_tokenizer(folder, tokenizer, arch, ended=classifies)
    if classifies and not native:
        write_head(folder, params, check_head(head), labels)
    return folder


def _write_generation(folder: Path, tokenizer: TextTokenizer) -> dict[str, int]:
    """Writes where texts begin and end for whoever lets the model write; what of it belongs in config.json too.

    Padding does not: an embedding would give its row, which is the end's, no gradient.
    """
    ids = {"bos_token_id": next(iter(tokenizer.opening), None), "eos_token_id": tokenizer.separator}
    known = {name: number for name, number in ids.items() if number is not None}
    padding = {"pad_token_id": known["eos_token_id"]} if "eos_token_id" in known else {}
    (folder / "generation_config.json").write_text(json.dumps(known | padding, indent=1), encoding="utf-8")
    return known


def _special(path: Path) -> tuple[dict[str, str | bool], ChatTemplate | None]:
    """Special tokens by role, which of them are put around a text, and the chat template."""
    file = path / "tokenizer_config.json"
    config: dict[str, Any] = read_json(file) if file.exists() else {}
    options: dict[str, str | bool] = {}
    for role in ("add_eos_token", "add_bos_token"):
        if isinstance(config.get(role), bool):
            options[role] = config[role]
    options |= {role: text for role, text in special_texts(config) if role in ("eos_token", "bos_token")}
    return options, read_chat_template(path, config)


def _frozen(params: Flat) -> Flat:
    for array in params.values():
        array.flags.writeable = False
    return params
