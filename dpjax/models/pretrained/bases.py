"""What others call the model that adapters belong to."""

import warnings
from pathlib import Path

from dpjax.models.pretrained.checkpoints import CHECKPOINTS
from dpjax.models.pretrained.load_and_save import Pretrained


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


def warn_of_another_base(folder: Path, meant: str | None, base: str | Pretrained) -> None:
    """Warns where adapters name one repository of the hub and are put on another: shapes alone do not tell them apart.

    A folder is called otherwise on every machine, so of one nothing is said.

    Args:
      folder: of the adapters.
      meant: their ``base_model_name_or_path``.
      base: what they are put on.
    """
    given = base_of(base)[0]
    if meant and meant != given and all(_is_repository(name) for name in (meant, given)):
        warnings.warn(
            f"{folder}: base_model_name_or_path is {meant!r}, and the adapters are put on {given!r}; take the base "
            "that they were trained on.",
            stacklevel=3,
        )


def _is_repository(name: str) -> bool:
    parts = name.split("/")
    return len(parts) == 2 and all(parts) and not name.startswith((".", "~"))
