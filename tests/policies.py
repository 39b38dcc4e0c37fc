"""The text of policies that tests set: tables and grants, which are put one after the other."""

import json
from collections.abc import Sequence


def grant(to: Sequence[str], role: str, data: Sequence[str] = ("clinic",), **limits: object) -> str:
    """A grant as a policy's file says it.

    Args:
      to: persons and groups.
      role: of theirs.
      data: names in the ledger.
      limits: such as ``max_epsilon``.
    """
    fields = {"to": list(to), "role": role, "data": list(data)} | limits
    return "\n[[grant]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())


def section(name: str, **fields: object) -> str:
    """A table of a policy.

    Args:
      name: ``groups``, ``issuers`` or ``keys``.
      fields: of it.
    """
    return f"\n[{name}]\n" + "".join(f"{field} = {json.dumps(value)}\n" for field, value in fields.items())
