"""The end of a trail, signed and kept elsewhere: with it, records that were cut off are missed."""

from __future__ import annotations

import datetime
import json
from typing import NamedTuple

from dpjax.checks import brief
from dpjax.governance.errors import LedgerError
from dpjax.governance.signing import Author, is_signed, key_id


class Head(NamedTuple):
    """The end of a trail at a moment.

    Attributes:
      ledger: its name, drawn when it was made.
      sequence: number of the last record.
      hash: of it, and of all before.
      time: UTC.
      who: signed it.
      public: half of their key.
      signature: of all that.
    """

    ledger: str
    sequence: int
    hash: str
    time: str
    who: str
    public: str
    signature: str = ""

    def as_json(self) -> str:
        """As a file holds it."""
        return json.dumps(self._asdict(), indent=1, ensure_ascii=False) + "\n"


def _signed_text(head: Head) -> str:
    return json.dumps(head._replace(signature="")._asdict(), sort_keys=True, separators=(",", ":"))


def signed_head(ledger: str, sequence: int, last: str, author: Author) -> Head:
    """A head.

    Args:
      ledger: its name.
      sequence: of the last record.
      last: hash of it.
      author: signs.

    Example:
      >>> from dpjax.governance.signing import new_signing_key
      >>> head = signed_head("0f3c", 7, "ab" * 32, Author("ana", new_signing_key()))
      >>> read_head(head.as_json()) == head
      True
      >>> read_head(head.as_json().replace("7", "8"))
      Traceback (most recent call last):
      dpjax.governance.errors.LedgerError: head has a signature that is not ana's; take the file as it was written.
    """
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    head = Head(ledger, sequence, last, now, author.who, author.key.public)
    return head._replace(signature=author.key.sign("head", _signed_text(head)))


def read_head(text: str) -> Head:
    """A head from its file, as it was signed.

    Args:
      text: of ``Head.as_json``.

    Raises:
      LedgerError: it is none, or was changed.
    """
    try:
        found = json.loads(text)
        head = Head(**found)
        if not isinstance(head.sequence, int) or not all(isinstance(v, str) for v in head if v is not head.sequence):
            raise TypeError("of other types")
    except (ValueError, TypeError, RecursionError) as error:
        raise LedgerError(f"head {brief(text)} is none; take a file that `dpjax ledger head` wrote.") from error
    key_id(head.public)
    if not is_signed("head", _signed_text(head), head.signature, head.public):
        raise LedgerError(f"head has a signature that is not {head.who}'s; take the file as it was written.")
    return head


def check_head(head: Head, ledger: str, found: str | None) -> None:
    """Raise LedgerError unless a ledger has what it had at a head.

    Args:
      head: that was kept.
      ledger: name of the ledger.
      found: hash of its record of that number; None: it has none.
    """
    if head.ledger != ledger:
        raise LedgerError(f"head is of the ledger {head.ledger}, and this one is {ledger}; take its own.")
    if found is None:
        raise LedgerError(
            f"trail: record {head.sequence} was there on {head.time} and is not now; the end was cut off: restore the "
            "ledger from a copy."
        )
    if found != head.hash:
        raise LedgerError(
            f"trail: record {head.sequence} is not the one of {head.time}; the trail was written anew: restore the "
            "ledger from a copy."
        )
