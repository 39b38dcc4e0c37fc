"""Where no ε holds for what was spent, it is said why, and what is said would help does."""

import re

import pytest

from dpjax.governance.errors import LedgerError, Overspent
from dpjax.governance.events import stated
from dpjax.governance.ledger import create_ledger
from dpjax.governance.spends import Spend, spend_of
from tests.ledgers import DELTA, mechanism, request, set_budget

GAUSSIAN = {"type": "GaussianDpEvent", "noise_multiplier": 4.0}


def _stated(epsilon, delta):
    return Spend(stated(epsilon, delta), None, 1, claim=(epsilon, delta))


@pytest.fixture
def ledger(tmp_path):
    made = create_ledger(str(tmp_path / "ledger.db"), who="ana")
    set_budget(made, epsilon=1000.0)
    return made


def _overflowing(beta=1e-9):
    """A run whose ε is above 2.7, and whose cohorts overflow with chance β."""
    spend = spend_of(mechanism(rate=0.02, noise_multiplier=1.0, steps=500), DELTA)
    return spend._replace(overflow=beta)


@pytest.mark.parametrize("composition", ["planned", "adaptive"])
def test_stated_deltas_that_use_delta_up_are_told_and_a_larger_one_helps(ledger, composition):
    set_budget(ledger, epsilon=1000.0, composition=composition)
    for _ in range(2):
        ledger.enter("clinic", _stated(0.5, DELTA), tool="t", label="")
    account = ledger.account("clinic")
    assert account.spent == float("inf")
    assert account.endless.startswith("as what was stated as (ε, δ) takes 2e-05 of ")
    with pytest.raises(
        Overspent, match=r"would make it inf, as what was stated .* have the budget's δ raised; nothing"
    ):
        ledger.reserve("clinic", [request("a")])
    set_budget(ledger, epsilon=1000.0, delta=40 * DELTA, composition=composition)
    account = ledger.account("clinic")
    assert (account.spent < 1000, account.endless) == (True, "")


def test_so_are_overflows_and_a_smaller_budget_refuses_before(ledger):
    for _ in range(12):
        ledger.enter("clinic", _overflowing(), tool="t", label="")
    account = ledger.account("clinic")
    assert account.spent == float("inf")
    past = float(re.search(r"β=1\.2e-08 in all runs, .* once they come to ε above ([\d.]+);", account.endless)[1])
    assert 6.0 < past < 7.0
    # Up to about that ε they are added up.
    few = create_ledger(str(ledger.url.database) + ".2", who="ana")
    set_budget(few)
    few.enter("clinic", _overflowing(1.2e-8), tool="t", label="")
    few.enter("clinic", _overflowing(0.0), tool="t", label="")
    assert 3 < few.account("clinic").spent < past


def test_and_what_was_released_by_name(ledger):
    ledger.enter("clinic", Spend(None, GAUSSIAN, 1, delta=2e-5), tool="t", label="")
    assert "as what was released by name takes 2e-05 of δ=1e-05; " in ledger.account("clinic").endless


LAPLACE = {"type": "LaplaceDpEvent", "noise_multiplier": 0.0}
BARE = [
    {"type": "NonPrivateDpEvent"},
    {**GAUSSIAN, "noise_multiplier": 0.0},
    LAPLACE,
    {"type": "PoissonSampledDpEvent", "sampling_probability": 0.5, "event": {**GAUSSIAN, "noise_multiplier": 0.0}},
    {"type": "PoissonSampledDpEvent", "sampling_probability": 0.5, "event": LAPLACE},
    {"type": "RandomizedResponseDpEvent", "noise_parameter": 0.0, "num_buckets": 4},
    {
        "type": "MixtureOfGaussiansDpEvent",
        "standard_deviation": 0.0,
        "sensitivities": [0.0, 1.0],
        "sampling_probs": [0.5, 0.5],
    },
    {
        "type": "TruncatedSubsampledGaussianDpEvent",
        "dataset_size": 1000,
        "sampling_probability": 0.1,
        "truncated_batch_size": 150,
        "noise_multiplier": 0.0,
    },
]


@pytest.mark.parametrize("composition", ["planned", "adaptive"])
@pytest.mark.parametrize("event", BARE, ids=lambda event: event["type"])
def test_what_has_no_noise_has_no_epsilon_of_whatever_kind(ledger, event, composition):
    set_budget(ledger, composition=composition)
    for spend in (Spend(event, None, 1), Spend(GAUSSIAN, event, 5)):
        id = ledger.enter("clinic", spend, tool="t", label="")
        account = ledger.account("clinic")
        assert account.spent == float("inf")
        assert account.endless.startswith("as something has no noise; if it was entered by mistake")
        with pytest.raises(Overspent, match="would make it inf, as something has no noise"):
            ledger.reserve("clinic", [request("a")])
        ledger.retract("clinic", id, "by mistake")
        assert ledger.account("clinic").spent == 0


@pytest.mark.parametrize(
    "event",
    [
        {"type": "LaplaceDpEvent", "noise_multiplier": 1e-9},
        {"type": "PoissonSampledDpEvent", "sampling_probability": 0.5, "event": {**GAUSSIAN, "noise_multiplier": 1e-9}},
    ],
    ids=lambda event: event["type"],
)
def test_what_has_next_to_no_noise_is_told(ledger, event):
    with pytest.raises(LedgerError, match="has too little noise for its losses to be added up; enter its epsilon and"):
        ledger.enter("clinic", Spend(event, None, 1), tool="t", label="")


def test_a_finite_epsilon_has_no_reason(ledger):
    ledger.enter("clinic", _stated(0.5, DELTA), tool="t", label="")
    account = ledger.account("clinic")
    assert (account.spent, account.endless) == (0.5, "")


def test_show_says_it(ledger, capsys):
    from dpjax.cli.accounts_shown import as_dict, print_account

    for _ in range(2):
        ledger.enter("clinic", _stated(0.5, DELTA), tool="t", label="")
    account = ledger.account("clinic")
    print_account(account, with_runs=False)
    assert f"  ε is inf, {account.endless}\n" in capsys.readouterr().out
    assert as_dict(account)["endless"] == account.endless
