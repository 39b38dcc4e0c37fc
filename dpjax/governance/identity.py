"""Who acts."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from dpjax.governance.errors import LedgerError
from dpjax.governance.policy import Policy
from dpjax.governance.tokens import Token, read_token, users_token


class Identity(NamedTuple):
    """A person, and who says so.

    Attributes:
      who: a name.
      token: that says so; None: the operating system does.
    """

    who: str
    token: Token | None = None

    def check_now(self) -> None:
        """Raise LedgerError if the token has expired since it was read."""
        if self.token is not None and time.time() >= self.token.expires:
            raise LedgerError(f"token of {self.who} has expired; have a new one issued.")


def identify(policy: Policy | None, ledger: str, who: str | None = None) -> Identity:
    """Who runs this process: by a token where the policy names who issues them, else by the operating system.

    Args:
      policy: of the ledger; None: there is none.
      ledger: its name.
      who: a person's name that the caller gives; with tokens it must be theirs.

    Raises:
      LedgerError: a token is wanted and there is none, or it is of no use here.
    """
    if policy is None or not policy.issuers:
        return Identity(who or user())
    token = read_token(users_token(), policy.issuers, ledger)
    if who is not None and who != token.who:
        raise LedgerError(f"who={who} is not {token.who}, whom the token names; leave it out.")
    return Identity(token.who, token)


def user() -> str:
    """Who runs this process, as the operating system knows: not what an environment variable says."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        import getpass

        return getpass.getuser() if not hasattr(os, "geteuid") else f"uid {os.geteuid()}"
