"""A table of one's own, as the config's fields of ``data`` describe it."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from experiments.config import ConfigError, DataConf

if TYPE_CHECKING:
    from dpjax.datasets import Dataset
    from dpjax.datasets.own_tables.source import Predicted, Split, TableSource
    from dpjax.datasets.raw_texts.preparing import Preparation, Raw

_RELEASE = ("release", "release_noise_multiplier", "release_seed")

OWN = "own"
"""The ``data.name`` that reads ``data.path``."""


def table_of(data: DataConf, by_owner: bool = False) -> "TableSource":
    """Where a table lies and what its columns are for.

    Args:
      data: the config's part, of a run whose ``data.name`` is ``OWN``.
      by_owner: whether ε protects owners of rows; else it protects rows.

    Example:
      >>> table_of(DataConf(name="own", path="patients.csv", label="ill")).label
      'ill'
    """
    from dpjax.datasets.own_tables.source import TableSource  # a run that is done already reads no table

    return TableSource(
        path=data.path,
        label=data.label,
        unit=data.unit or "",
        split=cast("Split | None", data.split),
        split_column=data.split_column or "",
        columns=data.columns,
        missing=tuple(data.missing),
        classes=tuple(data.classes),
        target=cast("Predicted", data.target),
        target_range=tuple(data.target_range),
        encoding=data.encoding,
        decimal=data.decimal,
        split_at=data.split_at or "",
        release=tuple(data.release),
        release_noise_multiplier=data.release_noise_multiplier,
        release_seed=data.release_seed,
        release_by_owner=by_owner,
    )


def load_own(data: DataConf, by_owner: bool = False) -> "Dataset":
    """The data set that a config describes.

    Args:
      data: the config's part, of a run whose ``data.name`` is ``OWN``.
      by_owner: whether ε protects owners of rows; else it protects rows.

    Raises:
      DatasetError: it can't be read; the sentence says where.
    """
    from dpjax.datasets import DatasetError, read_documents
    from dpjax.datasets.own_tables.arrays import are_images, is_arrays, load_array_images
    from dpjax.datasets.own_tables.conversations import load_conversations
    from dpjax.datasets.own_tables.images import is_images, load_images
    from dpjax.datasets.own_tables.on_disk import load_on_disk
    from dpjax.datasets.own_tables.reading import load_table
    from dpjax.datasets.own_tables.texts import load_texts
    from dpjax.datasets.own_tables.tokens import load_tokens
    from dpjax.datasets.raw_texts.document_files import refuse_pickle

    refuse_pickle(Path(data.path), f"data.path={data.path!r}:")
    if _is_prepared(data):
        return _told(_load_prepared(data))
    if data.on_disk:
        return _told(load_on_disk(table_of(data), data.num_evaluated))
    if data.tokens:
        _refuse_for(
            "token ids", data, ("text", "columns", "size", "channels", "decimal", "target", "target_range", *_RELEASE)
        )
        mask = data.mask or ""
        return _told(load_tokens(table_of(data), data.tokens, padding=data.padding, mask=mask))

    if data.messages:
        _refuse_for(
            "conversations",
            data,
            ("text", "columns", "size", "channels", "decimal", "target", "target_range", *_RELEASE),
        )
        return _told(load_conversations(table_of(data), data.messages))
    if data.text:
        if data.label or len(data.text) == 3:
            _refuse_for("texts", data, ("columns", "size", "channels", "decimal", "target", "target_range", *_RELEASE))
            return _told(load_texts(table_of(data), data.text))
        roles = ("split", "split_column", "split_at", "missing", "classes")
        _refuse_for(
            "texts without a label",
            data,
            (*roles, "columns", "size", "channels", "decimal", "target", "target_range", *_RELEASE),
        )
        try:
            texts = read_documents(data.path, text_columns=data.text, owner_column=data.unit, encoding=data.encoding)
        except DatasetError as error:  # what is said of texts that data.name names
            said = str(error).replace("append ?label=COLUMN, or ?label= if none does", "say data.label=COLUMN")
            raise DatasetError(said.replace("data.name=", "data.path=")) from error
        return replace(texts, learnt="classes of the label; who is tested")
    if data.path and is_images(data.path):
        _refuse_for("images", data, ("columns", "decimal", *_RELEASE))
        return _told(load_images(table_of(data), size=data.size, channels=data.channels))
    if is_arrays(data.path):
        _refuse_for("arrays", data, ("size", "channels", "encoding", "decimal"))
        if are_images(table_of(data)):
            _refuse_for("images", data, ("columns", *_RELEASE))
            return _told(load_array_images(table_of(data)))
    _refuse_for("tables", data, ("size", "channels"))
    return _told(load_table(table_of(data, by_owner)))


def preparation_of(data: DataConf) -> "Preparation":
    """What raw texts are, and what becomes of them.

    Args:
      data: the config's part.

    Example:
      >>> preparation_of(DataConf(raw="mailbox")).quotes
      False
    """
    from dpjax.datasets.raw_texts.preparing import Preparation

    return Preparation(cast("Raw", data.raw), data.owners, data.quotes, data.pseudonymise, data.piece_words)


def _is_prepared(data: DataConf) -> bool:
    return data.raw != "table" or data.pseudonymise or data.piece_words is not None


def _load_prepared(data: DataConf) -> "Dataset":
    """Raw texts, or those of a table that are changed before they are rows."""
    from dpjax.datasets.loading import documents_of
    from dpjax.datasets.own_tables.texts import load_texts
    from dpjax.datasets.raw_texts.preparing import prepare

    if data.raw != "table" and (data.text != ["text"] or data.unit != "owner" or data.label not in ("", "label")):
        raise ConfigError(
            f"data.raw={data.raw} makes the columns text, owner and label; say data.text=[text] data.unit=owner, and "
            "data.label=label or none."
        )
    if len(data.text) != 1:
        raise ConfigError(f"data.text={data.text} must be one column where texts are pseudonymised or cut; name one.")
    others = ("tokens", "columns", "size", "channels", "decimal", "target", "target_range", "on_disk", *_RELEASE)
    _refuse_for("raw texts", data, others)
    read = prepare(data.path, preparation_of(data), text=data.text[0], owner=data.unit or "", encoding=data.encoding)
    if data.label:
        dataset = load_texts(table_of(data), data.text, read.tables)
    else:
        _refuse_for("texts without a label", data, ("split", "split_column", "split_at", "missing", "classes"))
        dataset = replace(
            documents_of(read.tables, data.path, text_columns=data.text, owner_column=data.unit or None),
            learnt="who is tested",
        )
    return replace(dataset, remarks="; ".join(filter(None, [*read.remarks, dataset.remarks])))


def _told(dataset: "Dataset") -> "Dataset":
    if dataset.remarks:
        warnings.warn(f"data={dataset.name}: {dataset.remarks}", stacklevel=2)
    return dataset


def _refuse_for(what: str, data: DataConf, names: tuple[str, ...]) -> None:
    """Refuse fields that are of other kinds of data."""
    for name in names:
        if (value := getattr(data, name)) != getattr(DataConf(), name):
            raise ConfigError(f"data.{name}={value} is not read of {what}, as {data.path!r} is; leave it out.")


def name_of(data: DataConf) -> str:
    """What a row calls its data set.

    Args:
      data: the config's part.

    Example:
      >>> name_of(DataConf(name="own", path="files/patients.csv")), name_of(DataConf())
      ('files/patients.csv', 'digits')
    """
    if data.name != OWN:
        return data.name
    path = Path(data.path)
    return Path(*path.parts[-2:]).as_posix() if path.is_absolute() else path.as_posix()


def classes_are_learnt(data: DataConf, learnt: str) -> bool:
    """Whether the names of classes are those that the rows have, and not what the config or the registry says.

    Args:
      data: the config's part.
      learnt: of the data set: what was read off the rows.

    Example:
      >>> own = DataConf(name="own", path="patients.csv", classes=["no", "yes"])
      >>> classes_are_learnt(own, "range of age"), classes_are_learnt(own, "range of age; classes of ill")
      (False, True)
    """
    from dpjax.datasets.own import is_own

    named = data.name != OWN and is_own(data.name)  # whose config can't say them
    return named or any(part.startswith("classes of ") for part in learnt.split("; "))
