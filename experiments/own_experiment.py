"""``experiment=./mine.yaml``: an experiment in a file of one's own, wherever it lies."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dpjax.checks import in_one_line
from experiments.config import CONF, ConfigError
from experiments.notifying import NO_ADDRESS, is_address

_FILE = re.compile(r"experiment=(['\"]?)(?P<path>.*\.ya?ml)\1", re.IGNORECASE)
_HEADER = "# @package _global_\n"


@contextmanager
def with_own_experiments(words: Sequence[str]) -> Iterator[list[str]]:
    """Words for Hydra, in which a file of the user's own is an option of the group ``experiment``.

    Args:
      words: of the command line.

    Yields:
      The same words where none names a file; else a folder that Hydra searches as well, which goes at the end.

    Raises:
      ConfigError: no such file, or no YAML of fields.

    Example:
      >>> with with_own_experiments(["experiment=quickstart"]) as words:
      ...     words
      ['experiment=quickstart']
    """
    found = next((match for word in words if (match := _FILE.fullmatch(word))), None)
    if found is None:
        yield list(words)
        return
    path = Path(found["path"]).expanduser()
    text = _read(path)
    _refuse_other_governance(words, text, path)
    with TemporaryDirectory(prefix="dpjax-experiment-") as folder:
        place = Path(folder, "experiment", "own")
        place.mkdir(parents=True)
        option = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)
        option = option if option[:1].isalpha() and option.lower() not in _SPOKEN else f"x{option}"
        (place / f"{option}.yaml").write_text(text, encoding="utf-8")
        named = [f"experiment=own/{option}" if word == found[0] else word for word in words]
        _GIVEN[f"experiment=own/{option}"] = f"experiment={found['path']}"
        try:
            yield ["--config-dir", folder, *named]
        finally:
            _GIVEN.clear()


def _refuse_other_governance(words: Sequence[str], text: str, path: Path) -> None:
    """A file's mapping comes after the option of the command line, and would keep a ledger out without a word."""
    chosen = next((word.partition("=")[2] for word in words if word.startswith("governance=")), None)
    said = OmegaConf.select(OmegaConf.create(text), "governance.name")
    if chosen is not None and said is not None and chosen != said:
        raise ConfigError(
            f"experiment={path} says governance.name={said}, which comes after governance={chosen}; write "
            f"governance.name={chosen}."
        )


def as_given(overrides: str) -> str:
    """The overrides of a job with the file of one's own as it was named: what a row records, and runs again.

    Args:
      overrides: of a job, as Hydra was told them.

    Example:
      >>> as_given("experiment=quickstart privacy.epsilon=1")
      'experiment=quickstart privacy.epsilon=1'
    """
    for told, given in _GIVEN.items():
        overrides = re.sub(rf"(?<!\S){re.escape(told)}(?!\S)", lambda match, given=given: given, overrides)
    return overrides


def _read(path: Path) -> str:
    """The file's fields, as Hydra wants them."""
    shown = f"experiment={path}"
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = OmegaConf.create(text)
    except OSError as error:
        raise ConfigError(f"{shown} can't be read ({error.strerror}); give the path of a YAML file.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown} is not UTF-8; save it as that.") from error
    except (yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        said = in_one_line(str(getattr(error, "problem", None) or error), 120).rstrip(".")
        raise ConfigError(f"{shown} is no YAML{line} ({said}); mend it.") from error
    if not isinstance(content, DictConfig) or not content or None in content.values():
        raise ConfigError(f"{shown} holds no fields; write some, as privacy: {{epsilon: 3}}.")
    if blank := sorted(OmegaConf.missing_keys(content)):
        raise ConfigError(f"{shown} has ??? at {blank[0]}; write what you know of it, or take the line away.")
    if is_address(content._get_node("notify")):
        raise ConfigError(NO_ADDRESS)  # before Hydra writes down what it has read
    if "experiment" not in content:
        content["experiment"] = re.sub(r"[^\w .+-]", "_", path.stem)
    return _HEADER + OmegaConf.to_yaml(_with_options(content))


def _with_options(content: DictConfig) -> DictConfig:
    """``tuning: head`` as the command line's ``tuning=head``: all that the option of that name says."""
    groups = [str(name) for name, value in content.items() if isinstance(value, str) and (CONF / str(name)).is_dir()]
    overrides = []
    for group in groups:
        if group == "experiment":
            continue
        option = content.pop(group)
        if (CONF / group / f"{option}.yaml").is_file():
            overrides.append({f"override /{group}": option})
        else:  # of a plugin, or misspelt, which the field's own check says
            content[group] = {"name": option}
    if overrides:
        before = [each for each in content.get("defaults", []) if each != "_self_"]
        content["defaults"] = [*before, *overrides, "_self_"]
    return content


_GIVEN: dict[str, str] = {}
"""What Hydra is told of a file of one's own, and how it was named."""

_SPOKEN = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf")
