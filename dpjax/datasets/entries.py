"""What a data set is, where it can come from, and the error that says what went wrong with it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32, Shaped

from dpjax.datasets.targets import Target
from dpjax.fetching.sources import PackageSource

Task = Literal["image", "table", "text", "document", "tokens", "chat"]


class RawArrays(NamedTuple):
    """A data set as it is stored: compact integers, decimals or whole texts, before any scaling.

    Attributes:
      train_inputs: ``[train, ...]``, any real dtype or, of documents, ``np.dtypes.StringDType()``.
      train_labels: ``[train]`` class numbers.
      test_inputs: ``[test, ...]``, dtype and trailing shape of ``train_inputs``.
      test_labels: ``[test]`` class numbers.
      train_units: ``[train]`` number of the natural client that each row belongs to; None where rows stand alone.
      test_units: ``[test]``, numbered as ``train_units`` are: one number is one client in both.
      unit_names: ``[units]`` words, by number; None where clients have no names.
    """

    train_inputs: Shaped[np.ndarray, "train *raw"]
    train_labels: Int32[np.ndarray, "train"]
    test_inputs: Shaped[np.ndarray, "test *raw"]
    test_labels: Int32[np.ndarray, "test"]
    train_units: Int32[np.ndarray, "train"] | None = None
    test_units: Int32[np.ndarray, "test"] | None = None
    unit_names: Shaped[np.ndarray, "units"] | None = None

    @property
    def num_units(self) -> int:
        """Number of natural clients with rows in either part; 0 where rows stand alone."""
        parts = [units for units in (self.train_units, self.test_units) if units is not None]
        return max((int(units.max(initial=-1)) + 1 for units in parts), default=0)

    @property
    def num_train_units(self) -> int:
        """Number of natural clients with training rows: they come first, so theirs are the numbers below it."""
        return 0 if self.train_units is None else int(self.train_units.max(initial=-1)) + 1


class Released(NamedTuple):
    """What was computed from the rows with noise before inputs were made of them, as an accountant is to know it.

    Attributes:
      words: what it was, as "range of age".
      noise_multiplier: noise standard deviation / the most that one unit moves all of it.
      delta: the chance that a name is among it which only one unit has.
    """

    words: str
    noise_multiplier: float
    delta: float


class StoredRows(NamedTuple):
    """Training rows that stay on disk, in an Arrow file with the columns ``x``, of inputs, and ``y``, of labels.

    Attributes:
      path: of the file, which can be mapped.
      number: how many rows there are.
      counts: of each class; empty where a number is predicted.
    """

    path: str
    number: int
    counts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set in memory, the same layout whichever source served it. The arrays are read-only.

    Attributes:
      name: its name in the registry.
      train_inputs: ``[train, *input_shape]``: float32, scaled with constants that do not depend on the records; int32
        ids of characters where ``task`` is ``"text"``; whole texts, ``np.dtypes.StringDType()`` and none of them
        empty, where it is ``"document"``; ``object`` where it is ``"tokens"``, int32 ids of any length, none empty.
      train_labels: ``[train]`` class numbers in ``[0, num_classes)``; where ``target`` is given numbers in [-1, 1],
        float32, as it scales them.
      test_inputs: ``[test, *input_shape]``, dtype of ``train_inputs``.
      test_labels: ``[test]``; of a ``target`` also beyond [-1, 1], as nothing of them is cut off.
      num_classes: number of classes, whether or not each occurs; 1 where a number is predicted.
      input_shape: shape of one input.
      task: ``"image"`` (height, width, channels in [0, 1]), ``"table"`` (one row of features), ``"text"`` (the
        characters before the one to be predicted), ``"document"`` (a whole text, or a pair, for a tokenizer to
        read) or ``"tokens"`` (a text that a tokenizer has read).
      unit: natural unit of privacy: ``"example"`` where rows stand alone, else what a natural client is, as
        ``"patient"``.
      licence: licence of the data, in words.
      source: what served it, with version.
      class_names: one name per class, or empty.
      feature_names: one name per column of a table, or empty.
      train_units: ``[train]`` natural client of each row, in ``[0, num_train_units)``, each with a row at least; None
        where rows stand alone.
      test_units: ``[test]``, in ``[0, num_units)``; the same number is the same client as in ``train_units``.
      num_units: number of natural clients, 0 where rows stand alone.
      num_train_units: number of those with training rows.
      unit_names: one name per client, or empty.
      remarks: which rows were left out while reading and what else is odd, counted, in words; empty if all were.
      learnt: what of the inputs was read off the training rows, as the range of a column, and is not private; empty if
        nothing was.
      released: what of the inputs was computed from the training rows with noise, which ε must include; None: nothing.
      own: read from files of one's own. What is chosen among its rows, for validation or of an owner who has many, then
        goes by the row or its owner's name alone: owners' numbers depend on who else is in the file.
      split: who is tested, in words; empty of the registry's, whose description says it.
      target: the number that is predicted; None: a class is.
      stored: the training rows, where they stay on disk; ``train_inputs`` and ``train_labels`` are then the first of
        them, to be evaluated. None: all are in memory.
    """

    name: str
    train_inputs: Shaped[np.ndarray, "train *shape"]
    train_labels: Int32[np.ndarray, "train *marks"] | Float32[np.ndarray, "train *marks"]
    test_inputs: Shaped[np.ndarray, "test *shape"]
    test_labels: Int32[np.ndarray, "test *marks"] | Float32[np.ndarray, "test *marks"]
    num_classes: int
    input_shape: tuple[int, ...]
    task: Task
    unit: str
    licence: str
    source: str
    class_names: tuple[str, ...] = ()
    feature_names: tuple[str, ...] = ()
    train_units: Int32[np.ndarray, "train"] | None = None
    test_units: Int32[np.ndarray, "test"] | None = None
    num_units: int = 0
    num_train_units: int = 0
    unit_names: tuple[str, ...] = ()
    remarks: str = ""
    learnt: str = ""
    own: bool = False
    split: str = ""
    target: Target | None = None
    released: Released | None = None
    stored: StoredRows | None = None

    @property
    def num_train(self) -> int:
        """Number of training rows, wherever they are."""
        return len(self.train_labels) if self.stored is None else self.stored.number

    @property
    def commonest(self) -> int:
        """The class that most training rows are of."""
        return int(np.argmax(np.bincount(self.train_labels) if self.stored is None else self.stored.counts))


@dataclass(frozen=True)
class EmbeddedSource:
    """Data that an installed dependency of dpjax carries; always there, never fetched."""

    package: str
    file: str
    read: Callable[[], RawArrays] = field(repr=False)
    kind: Literal["embedded"] = "embedded"

    def __str__(self) -> str:
        return f"{self.package} (embedded)"


@dataclass(frozen=True)
class HubSource:
    """A repository on the dataset hub, read through the ``datasets`` library (extra ``hub``).

    Attributes:
      repo: its name there, ``owner/name``.
      input_column: of grey images.
      label_column: of class numbers; None: every row is of class 0.
      train_split: name of the split that trains.
      test_split: name of the split that tests.
      config: which of the repository's data sets; None where it holds one.
      text_columns: of whole texts, in the order in which they make up an input; empty for images.
    """

    repo: str
    input_column: str = "image"
    label_column: str | None = "label"
    train_split: str = "train"
    test_split: str = "test"
    config: str | None = None
    text_columns: tuple[str, ...] = ()
    kind: Literal["hub"] = "hub"

    def __str__(self) -> str:
        return f"hub {self.repo}{f' ({self.config})' if self.config else ''}"


@dataclass(frozen=True)
class PathSource:
    """A file or a folder of the user's own, read where it lies and never fetched."""

    path: str
    kind: Literal["path"] = "path"

    def __str__(self) -> str:
        return self.path


Source = EmbeddedSource | HubSource | PackageSource | PathSource


@dataclass(frozen=True)
class Entry:
    """One row of the registry: everything known of a data set without reading it.

    Attributes:
      name: what ``data.name`` says.
      title: its usual name.
      summary: what one row is and what is predicted, in one sentence.
      task: ``"image"``, ``"table"``, ``"text"`` or ``"document"``.
      input_shape: shape of one encoded input; of documents ``()``, of pairs ``(2,)``.
      num_train: rows of the training split.
      num_test: rows of the test split.
      class_names: one per class.
      feature_names: one per column of a table, or empty.
      licence: of the data, and of the package it comes in where that differs.
      citation: author, title and year, in words.
      encoding: how the stored values become inputs, and by which constants.
      sources: in the order in which they are tried.
      content_sha256: digest of the stored arrays that every source must reproduce; None: not pinned.
      encode: stored inputs → inputs of ``input_shape``, float32; for text int32, for documents texts.
      unit: natural unit of privacy: ``"example"`` where rows stand alone, else what a natural client is.
      num_units: number of natural clients, 0 where rows stand alone.
      num_train_units: number of those with training rows.
      note: what a user has to know besides, or empty.
      remarks: which rows were left out while reading and what else is odd, counted, in words, or empty.
      fetched_from: the source that served the copy on this machine, or None when there is none.
    """

    name: str
    title: str
    summary: str
    task: Task
    input_shape: tuple[int, ...]
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    licence: str
    citation: str
    encoding: str
    sources: tuple[Source, ...]
    content_sha256: str | None
    encode: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    feature_names: tuple[str, ...] = ()
    unit: str = "example"
    num_units: int = 0
    num_train_units: int = 0
    note: str = ""
    remarks: str = ""
    fetched_from: str | None = None

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def embedded(self) -> bool:
        """Whether it needs no fetch."""
        return isinstance(self.sources[0], EmbeddedSource | PathSource)

    @property
    def fetched(self) -> bool:
        """Whether it can be loaded here and now."""
        return self.fetched_from is not None
