"""Purchases at an online shop for CDs, 1997–98: will the customer be back? A customer is a natural client."""

import datetime
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int32

from dpjax.datasets.entries import RawArrays
from dpjax.datasets.splits import split_whole_units
from dpjax.fetching.sources import DatasetError

CLASS_NAMES = ("not within 90 days", "again within 90 days")
FEATURE_NAMES = ("day", "days since last", "days since last=none", "CDs", "dollars", "purchases so far")
FIRST_DAY, LAST_DAY = datetime.date(1997, 1, 1), datetime.date(1998, 6, 30)  # of the record, by its documentation
HORIZON = 90  # days
_NEVER = -1


def _read(content: bytes, path: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    owner, day, disks, cents = [], [], [], []
    for number, line in enumerate(content.decode("ascii").splitlines()[1:], 2):  # the first one names the columns
        try:
            customer, date, count, dollars = line.split()
            owner.append(int(customer))
            day.append((datetime.datetime.strptime(date, "%Y%m%d").date() - FIRST_DAY).days)
            disks.append(int(count))
            cents.append(round(100 * float(dollars)))
        except ValueError as error:
            raise DatasetError(f"data.name='cdnow': line {number} of {path} is not as documented: {error}") from error
    return np.array(owner), np.array(day), np.array(disks), np.array(cents)


def decode_cdnow(files: Mapping[str, bytes]) -> RawArrays:
    """Reads the purchases, looks 90 days ahead of each, and splits the customers 80/20.

    A purchase of the last 90 days of the record is left out: whether its customer comes back is not known. Only a
    purchase on a later day counts as coming back, since the record splits some orders of one day in two.

    Args:
      files: one path → lines of customer, date, number of CDs, dollars, under a line of names.

    Returns:
      Inputs ``[rows, 5]`` int32, all known at the purchase: day since 1 January 1997, days since the customer's
      purchase before this one (−1: none), CDs, cents, purchases so far with this one. Labels 1 where the customer
      buys again within 90 days. A customer's rows stay together, in order of days.

    Raises:
      DatasetError: where a line is not of that form.

    Example:
      >>> lines = ["id date cds dollars", "7 19970101 1 9.99", "7 19970201 2 20", "7 19970801 1 5"]
      >>> raw = decode_cdnow({"file": "\\n".join(lines).encode()})
      >>> raw.train_inputs.tolist(), raw.train_labels.tolist()
      ([[0, -1, 1, 999, 1], [31, 31, 2, 2000, 2], [212, 181, 1, 500, 3]], [1, 0, 0])
    """
    ((path, content),) = files.items()
    owner, day, disks, cents = _read(content, path)
    order = np.lexsort((day, owner))  # stable: orders of one day stay in the order of the file
    owner, day, disks, cents = (column[order] for column in (owner, day, disks, cents))
    rows = np.arange(len(owner))
    is_first = np.diff(owner, prepend=_NEVER) != 0
    gap = np.where(is_first, _NEVER, np.diff(day, prepend=0))
    so_far = rows - np.maximum.accumulate(np.where(is_first, rows, 0)) + 1
    # One number orders customers first and then days, so the next later day of a customer is found by bisection.
    span = (LAST_DAY - FIRST_DAY).days + HORIZON + 2
    moment = owner * span + day
    back = np.searchsorted(moment, moment + HORIZON, side="right") > np.searchsorted(moment, moment, side="right")
    known = day + HORIZON <= (LAST_DAY - FIRST_DAY).days
    inputs = np.stack([day, gap, disks, cents, so_far], axis=1).astype(np.int32)
    return split_whole_units(inputs[known], back[known].astype(np.int32), owner[known])


def encode_cdnow(raw: Int32[np.ndarray, "rows 5"]) -> Float32[np.ndarray, "rows 6"]:
    """Scales by constants: days of the record linearly, the others by doublings, as sums and waits are told apart.

    Row-wise. 0 stands for 1 July 1997, a month since the last purchase, one CD, 31 dollars, a third purchase.

    Args:
      raw: ``[rows, 5]`` as ``decode_cdnow`` gives it.

    Returns:
      ``[rows, 6]`` float32 without a unit; ``FEATURE_NAMES`` names the columns.

    Example:
      >>> encode_cdnow(np.array([[181, -1, 1, 3100, 6]], np.int32)).tolist()
      [[0.0, 0.0, 1.0, 0.0, 0.0, 1.0]]
    """
    day, gap, disks, cents, so_far = raw.T.astype(np.float64)
    is_first = gap == _NEVER
    wait = np.where(is_first, 0, (np.log2(1 + np.maximum(gap, 0)) - 5) / 2)
    columns = (
        (day - 181) / 180,
        wait,
        is_first,
        np.log2(1 + disks) - 1,
        np.log2(1 + cents / 100) - 5,
        np.log2(so_far / 3),
    )
    return np.stack(columns, axis=1).astype(np.float32)
