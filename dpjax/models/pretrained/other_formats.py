"""Weights and tokenizers in formats that are not read: what is there is named, with how to convert it."""

from pathlib import Path

from dpjax.models.pretrained.tensor_files import CheckpointError

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_EXPORTED = (".onnx", ".tflite", ".mlmodel", ".engine", ".ot")
_OLDER = {".h5": ("TensorFlow", "from_tf"), ".msgpack": ("Flax", "from_flax")}

_TOKENIZERS = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "merges.txt")
_NO_WEIGHTS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "optimizer.bin", "scheduler.bin")


def how_to_convert(path: Path) -> str | None:
    """What to say of a file of weights in another format; None: it is in none that is known.

    Args:
      path: of the file, which is not opened.

    Example:
      >>> how_to_convert(Path("model/config.json")) is None
      True
      >>> how_to_convert(Path("model/model.onnx"))
      'is an exported program; take the checkpoint that it was exported from, in the safetensors format'
    """
    suffix = path.suffix.lower()
    if path.name in _NO_WEIGHTS:
        return None
    if suffix in _PICKLES:
        return (
            "is a pickle, which can run code when it is opened and so is not; if you trust who made it, let "
            "transformers open it and write safetensors (AutoModelForCausalLM or AutoModelForMaskedLM, "
            "from_pretrained(...).save_pretrained(...))"
        )
    if suffix in _OLDER:
        library, switch = _OLDER[suffix]
        return (
            f"holds weights of {library}, which dpjax does not read; take the repository's model.safetensors, or let a "
            f"transformers below 5 convert it (from_pretrained(..., {switch}=True).save_pretrained(...))"
        )
    if suffix in _EXPORTED:
        return "is an exported program; take the checkpoint that it was exported from, in the safetensors format"
    return None


def refuse_other_weights(folder: Path, wanted: str = "model.safetensors") -> None:
    """Refuse a folder whose weights are in another format only; nothing of it is opened.

    Args:
      folder: of a checkpoint, or of adapters.
      wanted: the file that is read.

    Raises:
      CheckpointError: such weights in place of what is wanted, or adapters and no model.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if wanted in names or f"{wanted}.index.json" in names:
        return
    if "adapter_config.json" in names and "config.json" not in names and not wanted.startswith("adapter"):
        raise CheckpointError(
            f"{folder} holds adapters and no model; load the model that adapter_config.json names, and the adapters "
            "with load_adapters."
        )
    for name in names:
        how = how_to_convert(folder / name)
        if how is not None:
            raise CheckpointError(f"{folder} has no {wanted}: {name} {how}.")
    others = [name for name in names if name.endswith(".gguf") and name != "model.gguf"]
    if others:
        raise CheckpointError(f"{folder} has no {wanted}; give the path of {others[0]} to load that one.")


def refuse_other_tokenizers(folder: Path) -> None:
    """Refuse a folder that has a tokenizer, but not as ``tokenizer.json``.

    Args:
      folder: of a checkpoint.

    Raises:
      CheckpointError: it names the files that are there and how to make the one that is read.
    """
    if (folder / "tokenizer.json").exists():
        return
    there = [name for name in _TOKENIZERS if (folder / name).is_file()]
    if there:
        raise CheckpointError(
            f"{folder} has no tokenizer.json, but {' and '.join(there)}; write it with transformers "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(...))."
        )
