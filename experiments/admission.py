"""Whether a run may begin on its data: asked before its rows are read where that can be, or quoted, or compiled for.

Nothing of the ledger is imported unless ``governance=local``.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from experiments.config import Config, ConfigError, DataConf
from experiments.own_data import OWN, name_of

if TYPE_CHECKING:
    from dpjax.fingerprints import Fingerprint
    from dpjax.governance.ledger import Ledger


class Refused(ConfigError):
    """A run that no budget can pay for as it is.

    Attributes:
      is_refusal: a run that ends so has not failed: it was asked for and refused.
    """

    is_refusal = True


_OF_COLUMNS = ("has no column", "is no column")
"""Of sentences that name columns, which who says what each is for has to know, and no cells."""


def admit(cfgs: Iterable[Config]) -> None:
    """Refuse runs that their ledger can't let begin, whatever they spend; without one, warn of rows that it knows.

    Formal guarantees: nothing is said of rows before it is known that this person may train on them; and where all data
    of a ledger are sensitive, no rows of one's own are read for somebody who may train on none of them. What is denied
    is written down. Whether a run fits its grant and its budget is asked later, see ``governed``.

    Args:
      cfgs: of jobs that are to run.

    Raises:
      Refused: it can't be paid for: its noise is known to others, it has none, or its data have no budget.
      LedgerError: this person may not, or there is no ledger.
    """
    first: dict[tuple[object, ...], list[Config]] = {}
    for cfg in cfgs:
        data = cfg.data
        first.setdefault((cfg.governance.name, cfg.governance.ledger, data.name, data.path, data.encoding), []).append(
            cfg
        )
    for alike in first.values():
        if alike[0].governance.name == "off":
            _warn_of_known(alike[0].data)
        else:
            _admit(alike)


def _admit(alike: list[Config]) -> None:
    """Runs of one ledger on one data set."""
    from dpjax.governance.ledger import Ledger
    from experiments.inputs import data_inputs

    ledger, data = Ledger(alike[0].governance.ledger), alike[0].data
    if needs_budget(data):
        ledger.admit()
        for cfg in alike:
            _refuse_unpaid(ledger, cfg)
    nothing = set(data_inputs(data).values()) == {"absent"}  # to be quoted
    with nullcontext() if nothing else _unquoted(ledger):
        data_set = ledger.find(fingerprint_of_data(data))
    if data_set is None:
        return refuse_unbudgeted(data)
    ledger.admit(data_set.name)
    for cfg in alike:
        _refuse_unpaid(ledger, cfg, data_set.name)


def needs_budget(data: DataConf) -> bool:
    """Whether data are one's own, so that a governed run needs a budget for them; of the registry they may be public.

    Args:
      data: the config's part.

    Example:
      >>> needs_budget(DataConf(name="digits")), needs_budget(DataConf(name="own", path="patients.csv"))
      (False, True)
    """
    from dpjax.datasets import registry

    return data.name == OWN or data.name not in registry.ENTRIES


def refuse_unbudgeted(data: DataConf) -> None:
    """Refuse data of one's own whose rows no budget is set for.

    Args:
      data: the config's part, of rows that the ledger does not know.

    Raises:
      Refused: they are one's own.
    """
    if needs_budget(data):
        what = data.path if data.name == OWN else data.name
        raise Refused(
            f"governance=local: {what} has no budget in the ledger; set one with `dpjax ledger budget NAME --data "
            f"{what} --epsilon 8 --delta 1e-6`."
        )


def _refuse_unpaid(ledger: Ledger, cfg: Config, name: str = "") -> None:
    try:
        refuse_known_noise(cfg)
        refuse_no_noise(cfg)
    except Refused as refused:
        from dpjax.governance.errors import LedgerError

        with suppress(LedgerError):  # who may only read it is told all the same
            ledger.record_refusal(name, str(refused))
        raise


def refuse_known_noise(cfg: Config) -> None:
    """Refuse what a run on a budget can't have: noise that others can draw too, or less of it than it says.

    Args:
      cfg: of the run.

    Raises:
      Refused: it has.
    """
    if cfg.data.release:
        raise Refused(
            "data.release draws its noise from data.release_seed, which everybody can read; with governance=local say "
            "the ranges with data.columns."
        )
    if cfg.federated.noise_cohort is not None:
        raise Refused(
            "federated.noise_cohort simulates a larger federation and adds less noise than ε says; leave it null with "
            "governance=local."
        )


def refuse_no_noise(cfg: Config) -> None:
    """Refuse a run without privacy.

    Args:
      cfg: of the run.

    Raises:
      Refused: it is one.
    """
    if not cfg.privacy.is_private:
        raise Refused(
            "privacy.epsilon=inf is more than any budget; with governance=local leave out points without privacy, and "
            "the reference of a sweep with hydra.sweeper.reference=false."
        )


def fingerprint_of_data(data: DataConf) -> Fingerprint:
    """The fingerprint of the rows that a config names, taken once of files that stay as they are.

    Args:
      data: the config's part.

    Raises:
      DatasetError: they can't be read.
    """
    from experiments.inputs import data_inputs

    if data.raw != "table":  # of the texts as they lie, whatever becomes of them
        from dpjax.fingerprints import fingerprint_of

        return fingerprint_of(_raw_columns(data))
    return _fingerprint(data.name, data.path, data.encoding, tuple(data_inputs(data).items()))


@functools.lru_cache(maxsize=4)
def _fingerprint(name: str, path: str, encoding: str | None, files: tuple[tuple[str, str], ...]) -> Fingerprint:
    from dpjax.fingerprints import fingerprint_of

    return fingerprint_of(_columns(name, path, encoding))


def columns_of_data(data: DataConf) -> Mapping[str, Any]:
    """The columns of all rows that a config names, as they are stored.

    Args:
      data: the config's part.

    Raises:
      DatasetError: they can't be read.
    """
    return _raw_columns(data) if data.raw != "table" else _columns(data.name, data.path, data.encoding)


def _raw_columns(data: DataConf) -> Mapping[str, Any]:
    """Texts and owners of a folder or a mailbox, before any is replaced or cut."""
    from dataclasses import replace

    from dpjax.datasets.raw_texts.preparing import prepare
    from experiments.own_data import preparation_of

    whole = replace(preparation_of(data), pseudonymise=False, piece_words=None)
    table = prepare(data.path, whole, owner="owner", encoding=data.encoding).tables["train"]
    return {name: table.column(name) for name in table.column_names}


def _columns(name: str, path: str, encoding: str | None) -> Mapping[str, Any]:
    from dpjax.datasets.raw_columns import columns_at, columns_of

    return columns_at(path, encoding) if name == OWN else columns_of(name)


def _may_quote(error: Exception) -> bool:
    """Whether an error was found in cells: not in names of columns, nor in opening files."""
    from dpjax.encryption.errors import EncryptionError

    unopened = isinstance(error.__cause__, EncryptionError | OSError)
    return not unopened and not any(words in str(error) for words in _OF_COLUMNS)


@contextmanager
def _unquoted(ledger: Ledger, name: str = "*") -> Iterator[None]:
    """What is wrong with rows is not said to those who may not read them, as it may quote one."""
    from dpjax.fetching.sources import DatasetError

    try:
        yield
    except DatasetError as error:
        if not _may_quote(error) or ledger.may("raw", name):
            raise
        what = "the ledger has sensitive data" if name == "*" else f"data {name} is sensitive"
        raise ConfigError(
            f"{what}, and what is wrong with its rows may quote one, which takes the role owner to see; compare "
            "data.columns, data.classes and data.missing with what is known of them, or have an owner run "
            "`dpjax data inspect`."
        ) from None


@contextmanager
def rows_unquoted(cfg: Config) -> Iterator[None]:
    """While rows are read: a governed run says nothing of sensitive ones that its person may not read.

    Args:
      cfg: of the run.

    Raises:
      ConfigError: in the place of an error that may quote a row.
    """
    if cfg.governance.name == "off":
        yield
        return
    from dpjax.fetching.sources import DatasetError

    try:
        yield
    except DatasetError as error:
        from dpjax.governance.ledger import Ledger

        ledger = Ledger(cfg.governance.ledger)
        try:
            found = ledger.find(fingerprint_of_data(cfg.data))
        except ValueError:  # a part of them, or none that can be read
            found = None
        with _unquoted(ledger, "*" if found is None else found.name):
            raise error


def _warn_of_known(data: DataConf) -> None:
    """A run that nobody counts, on rows that somebody counts: looked at where a ledger's file is, and not opened."""
    from dpjax.known_rows import known_in, ledger_file, ledger_place

    if (file := ledger_file(ledger_place())) is None:
        return

    def fingerprint(names: Iterable[str]) -> Fingerprint | None:
        if not needs_budget(data) and data.name not in names:  # public, as far as one can tell without reading it
            return None
        try:
            return fingerprint_of_data(data)
        except (ValueError, OSError):  # the run says so itself
            return None

    known = known_in(file, fingerprint)
    if known is None:
        return
    what = "the rows of" if known.whole else "rows of"
    kind = "sensitive" if known.sensitive else "on a budget"
    warnings.warn(
        f"data={name_of(data)} has {what} {known.name}, which is {kind} in the ledger {file}: with governance=off "
        "nobody is asked, and nothing of this run is counted; add governance=local.",
        stacklevel=2,
    )
