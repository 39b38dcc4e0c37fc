"""What the ledger raises."""


class LedgerError(ValueError):
    """A ledger can't do what it was asked: one sentence that names what, why, and what to do. Nothing was spent."""


class Overspent(LedgerError):
    """A run would take more than what is left of a budget.

    Attributes:
      is_refusal: a run that ends so has not failed: it was asked for and refused.
    """

    is_refusal = True


class Denied(LedgerError):
    """A person may not do what they asked for; it is written down.

    Attributes:
      is_refusal: as of ``Overspent``.
    """

    is_refusal = True
