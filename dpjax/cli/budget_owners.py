"""Who the user of a budget is, by a column of its rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpjax.fingerprints import Fingerprint
    from dpjax.governance.ledger import Ledger
    from dpjax.governance.whose import Whose


def owners_by(
    column: str | None,
    columns: Mapping[str, Any],
    rows: "Fingerprint",
    unit: str,
    book: "Ledger",
    name: str,
    sensitive: bool | None,
) -> "Whose | None":
    """Owners by a column; None where none is named, which of sensitive rows one has to be.

    Args:
      column: that says whose a row is; None: it is not named.
      columns: of all rows.
      rows: their fingerprint.
      unit: of the budget.
      book: the ledger.
      name: of the data set.
      sensitive: what becomes of it; None: as it is.

    Raises:
      ValueError: there is no such column, or one has to be named.
    """
    if column is not None:
        from dpjax.governance.whose import Whose
        from dpjax.grouping import grouping_of

        return Whose(f"data.unit={column}", grouping_of(columns, column), rows.id)
    table = len(columns) > 1 and "inputs" not in columns  # of arrays and of the registry nobody names one
    known = name in book.names()
    marked = sensitive if sensitive is not None else known and book.is_sensitive(name)
    if unit == "user" and table and marked and not (known and book.whose(name)):
        raise ValueError(
            f"data {name} is sensitive and its budget is per user, and nobody has said who a user is; name the column "
            f"with --owners COLUMN, one of {', '.join([*columns][:20])}{', …' * (len(columns) > 20)}."
        )
    return None
