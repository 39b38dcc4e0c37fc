"""Signed tokens that say who somebody is: JSON Web Tokens by Ed25519, read by PyJWT."""

from __future__ import annotations

import datetime
import os
import secrets
from collections.abc import Mapping
from typing import Any, NamedTuple

from dpjax.checks import brief, in_one_line
from dpjax.governance.errors import LedgerError
from dpjax.governance.signing import SigningKey, key_id

VARIABLE = "DPJAX_TOKEN"
"""Holds a person's token, where the policy names who issues them."""

_CLAIMS = ("iss", "sub", "aud", "iat", "exp", "jti")


class Token(NamedTuple):
    """What a token says.

    Attributes:
      id: no other token has it.
      who: a person.
      issuer: says so.
      expires: seconds since 1970.
      key: that its holder signs with; empty: the first that uses it.
    """

    id: str
    who: str
    issuer: str
    expires: int
    key: str


def audience(ledger: str) -> str:
    """Whom a token is for.

    Args:
      ledger: its own name, drawn when it was made.

    Example:
      >>> audience("0f3c")
      'dpjax ledger 0f3c'
    """
    return f"dpjax ledger {ledger}"


def issue_token(key: SigningKey, *, issuer: str, who: str, ledger: str, hours: float = 8.0, holder: str = "") -> str:
    """A token for a person.

    Args:
      key: of the issuer.
      issuer: as the policy names it.
      who: the person.
      ledger: the name of the ledger that it is for.
      hours: until it expires; at most 24 · 31.
      holder: id of the person's key, without which nobody can use it; empty: of whoever uses it first.

    Raises:
      LedgerError: hours are out of range, or PyJWT is not installed.

    Example:
      >>> from dpjax.governance.signing import new_signing_key
      >>> key = new_signing_key()
      >>> text = issue_token(key, issuer="clinic", who="ana", ledger="0f3c")
      >>> read_token(text, {"clinic": key.public}, "0f3c").who
      'ana'
    """
    if not 0 < hours <= 24 * 31:
        raise LedgerError(f"hours={hours:g} of a token must be above 0 and at most 744; issue a new one in time.")
    now = datetime.datetime.now(datetime.UTC)
    claims: dict[str, Any] = {
        "iss": issuer,
        "sub": who,
        "aud": audience(ledger),
        "iat": int(now.timestamp()),
        "exp": int(now.timestamp() + hours * 3600),
        "jti": secrets.token_hex(16),
    }
    if holder:
        claims["cnf"] = {"kid": holder}
    return _jwt().encode(claims, key.private(), algorithm="EdDSA", headers={"kid": key.id})


def read_token(text: str, issuers: Mapping[str, str], ledger: str) -> Token:
    """What a token says, if somebody who may issue them signed it for this ledger and its time has not run out.

    Args:
      text: of the token.
      issuers: name → public key.
      ledger: the name of the ledger.

    Raises:
      LedgerError: it is expired, forged, for another ledger, or of nobody who may issue one.
    """
    jwt = _jwt()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        claimed = jwt.decode(text, options={"verify_signature": False}).get("iss")
        if not isinstance(claimed, str) or claimed not in issuers:
            raise LedgerError(
                f"token is issued by {brief(claimed)}, which the policy does not name; there "
                f"{'is' if len(issuers) == 1 else 'are'} {', '.join(sorted(issuers))}."
            )
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(issuers[claimed]))
        found = jwt.decode(
            text, public, algorithms=["EdDSA"], audience=audience(ledger), options={"require": list(_CLAIMS)}
        )
    except jwt.ExpiredSignatureError as error:
        raise LedgerError("token has expired; have a new one issued.") from error
    except jwt.InvalidAudienceError as error:
        raise LedgerError("token is for another ledger; have one issued for this.") from error
    except jwt.InvalidSignatureError as error:
        raise LedgerError("token is not signed by whom it says; have one issued.") from error
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        if isinstance(error, LedgerError):
            raise
        raise LedgerError(f"token can't be used ({in_one_line(str(error), 80)}); have one issued.") from error
    holder = found.get("cnf", {})
    if not isinstance(holder, dict) or not isinstance(holder.get("kid", ""), str) or set(holder) - {"kid"}:
        raise LedgerError("token names its holder in a way that nobody reads; have one issued with cnf.kid.")
    if found["aud"] != audience(ledger):  # PyJWT is content with one of a list
        raise LedgerError("token is for other ledgers too; have one issued for this alone.")
    if not found["sub"] or not found["jti"] or len(found["jti"]) > 128 or len(found["sub"]) > 255:
        raise LedgerError("token names nobody, or has no id of 1 to 128 letters; have one issued.")
    return Token(found["jti"], found["sub"], claimed, int(found["exp"]), holder.get("kid", ""))


def users_token() -> str:
    """The token of the person who runs this process.

    Raises:
      LedgerError: there is none.
    """
    text = os.environ.get(VARIABLE, "").strip()
    if not text:
        raise LedgerError(f"the policy wants a token, and {VARIABLE} is not set; have one issued and set it.")
    return text


def check_holder(token: Token, key: str) -> None:
    """Raise LedgerError unless a token is for the holder of this key.

    Args:
      token: of ``read_token``.
      key: id of a key.
    """
    if token.key and token.key != key:
        raise LedgerError(
            f"token of {token.who} is for the holder of key {token.key}, and this one is {key}; a copy of somebody "
            "else's token is of no use: have one issued for this key."
        )


def checked_issuers(found: Any) -> dict[str, str]:
    """Who may issue tokens: name → public key.

    Args:
      found: table of a policy.

    Raises:
      LedgerError: it is no such table.
    """
    if not isinstance(found, dict):
        raise LedgerError('policy: issuers must be a table of name = "public key".')
    for name, public in found.items():
        if not isinstance(public, str):
            raise LedgerError(f"policy: issuers.{name}={brief(public)} must be a public key; see `dpjax whoami`.")
        try:
            key_id(public)
        except LedgerError as error:
            raise LedgerError(f"policy: issuers.{name}: {error}") from error
    return dict(found)


def _jwt() -> Any:
    try:
        import jwt
    except ImportError as error:
        raise LedgerError("tokens need PyJWT, which is not installed; run pip install 'dpjax[governance]'.") from error
    return jwt
