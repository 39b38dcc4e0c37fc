"""What the files of settings set."""

import functools
from typing import Any

from omegaconf import OmegaConf

from experiments.config import CONF
from experiments.fields import DEFAULTS


@functools.lru_cache(maxsize=64)
def preset(group: str, option: str) -> dict[str, Any]:
    """Field → value, of a file of settings."""
    path = CONF / group / f"{option}.yaml"
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    content = OmegaConf.create(text)
    node = content if "@package _global_" in text.partition("\n")[0] else OmegaConf.create({group: content})
    plain: Any = OmegaConf.to_container(node)
    return {name: value for name in DEFAULTS if (value := _found(plain, name)) is not None}


def _found(content: Any, name: str) -> Any:
    for part in name.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content
