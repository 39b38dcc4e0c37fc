"""Data sets under one table: embedded ones at once, others fetched explicitly, verified, and then offline.

Example:
  >>> from dpjax import datasets
  >>> datasets.load("breast_cancer").train_inputs.shape
  (456, 30)
"""

from dpjax.datasets.bounding import bound_contributions
from dpjax.datasets.entries import Dataset, Entry, Released
from dpjax.datasets.fetched_copies import cache_folder
from dpjax.datasets.loading import available, describe, fetch, load, read_documents
from dpjax.datasets.own_tables.reading import load_table
from dpjax.datasets.own_tables.source import TableSource
from dpjax.datasets.targets import read_target
from dpjax.fetching.sources import DatasetError

__all__ = [
    "Dataset",
    "DatasetError",
    "Entry",
    "Released",
    "TableSource",
    "available",
    "bound_contributions",
    "cache_folder",
    "describe",
    "fetch",
    "load",
    "load_table",
    "read_documents",
    "read_target",
]
