"""What a paper's table calls columns and values: what was asked for, else the library's words."""

from typing import Any

import pandas as pd

from dpjax.checks import nearest
from dpjax.results.errors import ResultsError
from dpjax.results.paper.spec import TableSpec
from dpjax.results.remarks import MARK, is_unnoised
from dpjax.results.schema import SCHEMA
from dpjax.results.wording import cell_text, label


def column_name(spec: TableSpec, name: str) -> str:
    """What a column is called.

    Args:
      spec: of the table.
      name: of the column of the results.

    Example:
      >>> column_name(TableSpec(name={"epsilon": "budget"}), "epsilon"), column_name(TableSpec(), "epsilon")
      ('budget', 'ε')
      >>> column_name(TableSpec(percent=True), "test_accuracy")
      'test accuracy (%)'
      >>> column_name(TableSpec(name={"train_accuracy": "train"}), "train_accuracy")
      'train†'
    """
    mark = MARK * is_unnoised(name)  # whatever it is called
    if name in spec.name:
        return spec.name[name] + mark
    return label(name) + mark + (" (%)" if spec.percent and is_fraction(name) else "")


def value_name(spec: TableSpec, point: dict[str, Any], name: str) -> str:
    """What a point's value in a column is called.

    Args:
      spec: of the table.
      point: a row of ``summary``.
      name: of the column.

    Example:
      >>> spec = TableSpec(name={"dpsgd": "DP-SGD", "inf": "none"})
      >>> value_name(spec, {"method": "dpsgd"}, "method"), value_name(spec, {"epsilon": float("inf")}, "epsilon")
      ('DP-SGD', 'none')
    """
    said = cell_text(point, name)
    return spec.name.get(said, spec.name.get("inf", said) if said == "∞" else said)


def is_fraction(name: str) -> bool:
    """Whether a metric is a fraction of 1, which per cent can be taken of.

    Args:
      name: of the column.

    Example:
      >>> is_fraction("test_accuracy"), is_fraction("test_loss")
      (True, False)
    """
    return SCHEMA[name].unit == "fraction" if name in SCHEMA else "accuracy" in name


def refuse_unknown_names(spec: TableSpec, frame: pd.DataFrame, columns: list[str]) -> None:
    """A name for nothing is a slip of the pen.

    Args:
      spec: of the table.
      frame: all rows, selected or not, so that a specification serves for a part of them.
      columns: those whose values the table may show.

    Raises:
      ResultsError: a name is of neither a column nor a value; the nearest is named.
    """
    table: Any = frame
    values = {cell_text({each: value}, each) for each in columns for value in table[each].unique()}
    known = [*map(str, frame.columns), *sorted(values), "inf"]
    for name, called in spec.name.items():
        if name not in known:
            near = nearest(name, known)
            hint = f"did you mean {near}?" if near else f"name a column, or a value of {', '.join(columns)}"
            raise ResultsError(f"name {name}={called} is of no column and of no value: {hint}")
