"""What the ledger raises."""


class LedgerError(ValueError):
    """A ledger can't do what it was asked: one sentence that names what, why, and what to do. Nothing was spent."""


class Overspent(LedgerError):
    """A run would take more than what is left of a budget."""


class Denied(LedgerError):
    """A person may not do what they asked for; it is written down."""
