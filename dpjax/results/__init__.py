"""Results: one row per (point, seed), on disk in whole files, read back as a table that says what it claims.

``write_job_result`` ends a job and ``read_job_result`` tells whether it ended; ``collect`` and ``write_table`` make
one table of a sweep, ``load_all`` one of several; ``summary`` takes means over seeds and ``paper_table`` lays them out;
``claim`` is the sentence that every ε owes, and ``write_claim`` puts it beside what is released. No JAX in here,
and no pandas until a table is asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dpjax.results.claims import claim
from dpjax.results.columns import COLUMNS, Column
from dpjax.results.errors import ResultsError
from dpjax.results.mechanisms import columns_of, mechanism_of
from dpjax.results.paper.spec import TableSpec
from dpjax.results.recorded import record
from dpjax.results.released import claim_document, write_claim
from dpjax.results.result_files import read_job_result, write_atomically, write_job_result
from dpjax.results.schema import METRICS, SCHEMA, decode, encode

if TYPE_CHECKING:
    from dpjax.results.paper.table import paper_table
    from dpjax.results.several import load_all
    from dpjax.results.summarize import summary
    from dpjax.results.table import collect, load, write_table

__all__ = [
    "COLUMNS",
    "METRICS",
    "SCHEMA",
    "Column",
    "ResultsError",
    "TableSpec",
    "claim",
    "claim_document",
    "collect",
    "columns_of",
    "decode",
    "encode",
    "load",
    "load_all",
    "mechanism_of",
    "paper_table",
    "read_job_result",
    "record",
    "summary",
    "write_atomically",
    "write_claim",
    "write_job_result",
    "write_table",
]

_NEED_PANDAS = {
    "collect": "table",
    "load": "table",
    "load_all": "several",
    "paper_table": "paper.table",
    "summary": "summarize",
    "write_table": "table",
}


def __getattr__(name: str) -> Any:
    # pandas takes 1.5 s to import, which a job that only writes its own result should not pay.
    if name in _NEED_PANDAS:
        module = importlib.import_module(f"dpjax.results.{_NEED_PANDAS[name]}")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
