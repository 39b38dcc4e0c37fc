"""A client's own rows, or the server's test rows, as a file that goes with a plan."""

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dpjax.datasets import Dataset, DatasetError
from experiments.config import Config, ConfigError
from experiments.deploy.plan import Plan, Shapes
from experiments.own_data import OWN, load_own

_WHOSE = b"dpjax.shapes"


class Rows(NamedTuple):
    """Encoded inputs and labels: ``[rows, *input_shape]`` and ``[rows]``."""

    inputs: np.ndarray
    labels: np.ndarray


def write_rows(path: Path, rows: Rows, shapes: Shapes) -> None:
    """Rows as a Parquet file, with the shapes that they are of.

    Args:
      path: of the file.
      rows: encoded.
      shapes: of the data set.
    """
    if shapes.dtype == "text":
        inputs = pa.array([json.dumps(np.asarray(each).tolist()) for each in rows.inputs], pa.string())
    else:
        flat = np.ascontiguousarray(rows.inputs).reshape(len(rows.labels), -1)
        inputs = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), max(flat.shape[1], 1))
    table = pa.table({"x": inputs, "y": pa.array(rows.labels)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({_WHOSE: json.dumps(vars(shapes)).encode()}), path)


def read_rows(path: Path, shapes: Shapes) -> Rows:
    """Rows that ``write_rows`` wrote for the same shapes.

    Raises:
      ConfigError: it can't be read, or holds rows of another data set.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"rows={path} can't be read ({' '.join(str(error).split())[:120]}).") from error
    written = (table.schema.metadata or {}).get(_WHOSE)
    if written is None or set(table.column_names) != {"x", "y"}:
        raise ConfigError(
            f"rows={path} are no rows of a plan: `dpjax deploy rehearse` writes them, and a table of your own needs "
            "data=own in the plan."
        )
    if json.loads(written) != json.loads(json.dumps(vars(shapes))):
        raise ConfigError(
            f"rows={path} are of another data set than the plan's {shapes.name}; take the file that was made with it."
        )
    labels = table["y"].to_numpy()
    if shapes.dtype == "text":
        inputs = np.asarray([json.loads(each) for each in table["x"].to_pylist()], np.dtypes.StringDType())
        inputs = inputs.reshape(len(labels), *shapes.input_shape)
    else:
        flat = table["x"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        inputs = flat.astype(shapes.dtype).reshape(len(labels), *shapes.input_shape)
    return Rows(inputs, labels)


def own_rows(plan: Plan, path: Path) -> tuple[Rows, Rows]:
    """Training and test rows of a file: of a plan's rows, or a table of one's own if the plan's data is that.

    Raises:
      ConfigError: it can't be read, or its encoding would follow from its own rows.
    """
    if plan.cfg.data.name != OWN or _is_of_a_plan(path):
        nothing = Rows(*plan.shapes.rows(0))
        return read_rows(path, plan.shapes), nothing
    dataset = encoded(plan.cfg, path)
    if Shapes.of(dataset) != replace(plan.shapes, name=dataset.name, source=dataset.source, licence=dataset.licence):
        raise ConfigError(
            f"rows={path} make inputs of shape {dataset.input_shape} and {dataset.num_classes} classes, and the plan "
            f"has {plan.shapes.input_shape} and {plan.shapes.num_classes}; give a table with the plan's columns."
        )
    return Rows(dataset.train_inputs, dataset.train_labels), Rows(dataset.test_inputs, dataset.test_labels)


def test_rows(plan: Plan, path: Path) -> Rows:
    """All rows of a file, to test models on.

    Args:
      plan: whose rows they are like.
      path: of a plan's rows, or of a table if the plan's data is one's own.

    Raises:
      ConfigError: it can't be read.
    """
    train, test = own_rows(plan, path)
    return Rows(*(np.concatenate(pair) for pair in zip(train, test, strict=True)))


def encoded(cfg: Config, path: Path) -> Dataset:
    """A table of one's own as the plan's config encodes it, whichever rows it holds.

    Raises:
      ConfigError: the config leaves something to be read off the rows, which every client would read differently.
    """
    try:
        dataset = load_own(replace(cfg.data, path=str(path)))
    except DatasetError as error:
        raise ConfigError(f"rows={path}: {error}") from error
    if dataset.learnt and dataset.task == "table":
        raise ConfigError(
            f"rows={path}: {dataset.learnt} would be read off these rows, and every client has others; say them in "
            "data.columns and data.classes or data.target_range of the plan."
        )
    return dataset


def _is_of_a_plan(path: Path) -> bool:
    try:
        return _WHOSE in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False
