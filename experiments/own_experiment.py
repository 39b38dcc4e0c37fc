"""``experiment=./mine.yaml``: an experiment in a file of one's own, wherever it lies."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from experiments.config import ConfigError

_FILE = re.compile(r"experiment=(['\"]?)(?P<path>.*\.ya?ml)\1")
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
    with TemporaryDirectory(prefix="dpjax-experiment-") as folder:
        place = Path(folder, "experiment", "own")
        place.mkdir(parents=True)
        (place / f"{path.stem}.yaml").write_text(text, encoding="utf-8")
        named = [f"experiment='own/{path.stem}'" if word == found[0] else word for word in words]
        yield ["--config-dir", folder, *named]


def _read(path: Path) -> str:
    """The file's text, as Hydra wants it."""
    shown = f"experiment={path}"
    try:
        text = path.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"{shown} can't be read ({error.strerror}); give the path of a YAML file.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown} is not UTF-8; save it as that.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{shown} is no YAML{line} ({getattr(error, 'problem', error)}); mend it.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{shown} holds no fields; write some, as privacy: {{epsilon: 3}}.")
    if not text.lstrip().startswith("# @package"):
        text = _HEADER + text
    if "experiment" not in content:
        text = f"{text.rstrip()}\nexperiment: {path.stem}\n"
    return text
