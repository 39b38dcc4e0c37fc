"""What a figure of one's own shows: columns on its axes, lines, panels, rows, and its look; as one saves it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dpjax.checks import nearest
from dpjax.results import ResultsError
from experiments.figures.look import Look, look_of


@dataclasses.dataclass(frozen=True)
class Spec:
    """A figure of one's own.

    Attributes:
      x: column on the x axis; numbers give lines, words give places.
      y: columns on the y axis, each in panels of its own.
      hue: column that colours tell apart.
      style: column that dashes and markers tell apart.
      col: column with a panel for each value.
      select: which rows; see ``dpjax.results.selecting.select``.
      names: what columns and their values are called.
      seeds: whether every seed is a dot.
      log: whether the x axis is logarithmic; where values span a factor of eight if None.
      width, height, font, font_size, title, spread, confidence: see ``experiments.figures.look.look_of``.
    """

    x: str = "epsilon"
    y: tuple[str, ...] = ("test_accuracy",)
    hue: str = ""
    style: str = ""
    col: str = ""
    select: str = ""
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seeds: bool = False
    log: bool | None = None
    width: str = ""
    height: str = ""
    font: str = ""
    font_size: float | None = None
    title: bool = True
    spread: str = "ci"
    confidence: float = 0.95

    @property
    def look(self) -> Look:
        """Its look.

        Raises:
          ResultsError: a length, a font or a spread that cannot be.
        """
        return look_of(self.width, self.height, self.font, self.font_size, self.title, self.spread, self.confidence)

    @property
    def axes(self) -> list[str]:
        """The columns that tell points apart."""
        return list(dict.fromkeys(filter(None, [self.x, self.hue, self.style, self.col])))


def write_spec(spec: Spec, path: Path | str, folders: Sequence[Path | str] = ()) -> Path:
    """Writes a figure's description, which ``read_spec`` gives back.

    Args:
      spec: the figure.
      path: a YAML file.
      folders: the results that it is of.

    Raises:
      ResultsError: the file could not be written.

    Example:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     read_spec(write_spec(Spec(hue="method"), Path(folder) / "figure.yaml", ["results/a"]))[0].hue
      'method'
    """
    import yaml

    from dpjax.results import write_atomically

    plain = Spec()
    fields = {
        name: list(value) if name == "y" else dict(value) if name == "names" else value
        for name, value in dataclasses.asdict(spec).items()
        if value != getattr(plain, name) or name in ("x", "y")
    }
    content = {"results": [str(folder) for folder in folders], **fields} if folders else fields
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return write_atomically(Path(path), f"# A figure: dpjax plot --spec {Path(path).name}\n{text}".encode())


def read_spec(path: Path | str) -> tuple[Spec, list[str]]:
    """A figure's description, and the results that it is of.

    Args:
      path: a YAML file.

    Raises:
      ResultsError: there is none, it is no YAML, or it has a field or a value that a figure does not have.

    Example:
      >>> read_spec("/nowhere")
      Traceback (most recent call last):
          ...
      dpjax.results.errors.ResultsError: --spec /nowhere cannot be read (No such file or directory): give a file that --save wrote
    """  # noqa: E501
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(f"--spec {path} cannot be read ({error.strerror}): give a file that --save wrote") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ResultsError(
            f"--spec {path} is no YAML ({' '.join(str(error).split())}): give a file that --save wrote"
        ) from error
    if not isinstance(content, Mapping):
        raise ResultsError(f"--spec {path} holds no fields: write lines such as 'hue: method'")
    fields = dict(content)
    folders = fields.pop("results", [])
    folders = [folders] if isinstance(folders, str) else folders
    if not isinstance(folders, list):
        raise ResultsError(f"--spec {path} has results: {folders!r}: give a list of folders")
    known = [field.name for field in dataclasses.fields(Spec)]
    for name in fields:
        if name not in known:
            near = nearest(str(name), known)
            raise ResultsError(
                f"--spec {path} has a field {name}, which no figure has: "
                + (f"did you mean {near}?" if near else f"choose of {', '.join(known)}")
            )
    return _typed(fields, str(path)), [str(folder) for folder in folders]


def _typed(fields: dict[str, Any], path: str) -> Spec:
    wanted: dict[str, Any] = {}
    for name, value in fields.items():
        wanted[name] = value
        if name == "y":
            wanted[name] = tuple(
                value.split(",") if isinstance(value, str) else value if isinstance(value, list) else ()
            )
            good = bool(wanted[name]) and all(isinstance(part, str) for part in wanted[name])
        elif name == "names":
            good = isinstance(value, Mapping)
            wanted[name] = {str(key): str(word) for key, word in value.items()} if good else {}
        elif name in ("seeds", "title"):
            good = isinstance(value, bool)
        elif name == "log":
            good = value is None or isinstance(value, bool)
        elif name in ("font_size", "confidence"):
            good = (isinstance(value, int | float) and not isinstance(value, bool)) or (
                value is None and name != "confidence"
            )
        else:
            wanted[name] = "" if value is None or value is False else value
            good = isinstance(wanted[name], str)
        if not good:
            raise ResultsError(
                f"--spec {path} has {name}: {value!r}, which is none that a figure has: see dpjax plot --help"
            )
    return Spec(**wanted)
