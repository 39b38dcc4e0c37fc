"""A row says what ran: from a mechanism to its columns and back, through JSON and through a table."""

import json

import pytest

from dpjax.accounting import (
    FACTORIZATIONS,
    SAMPLINGS,
    DistributedNoise,
    Factorization,
    LocalReports,
    Mechanism,
    Noise,
    Participation,
    Poisson,
    Sampling,
    Shuffled,
    banded_toeplitz,
    buffered_toeplitz,
    epsilon,
    factorization_of,
    independent_noise,
    sampling_of,
)
from dpjax.accounting.distributed import KINDS as SHARES
from dpjax.accounting.local import KINDS as REPORTS
from dpjax.accounting.pairs import Pair
from dpjax.results import claim, decode, encode
from dpjax.results.mechanisms import columns_of, mechanism_of

COMMON = {"unit": "client", "num_steps": 40, "overflow_probability": 1e-13, "abort_probability": 1e-14}


def kinds():
    for name in SAMPLINGS:
        sampling = sampling_of(name, 1.0 if name == "full" else 0.1, 1000)
        for adjacency in ("zero_out", "replace_one"):
            yield {"sampling": sampling, "adjacency": adjacency, "noise_multiplier": 1.25}
        yield {"sampling": sampling, "adjacency": "zero_out", "noise_multiplier": 0.0}
        tree = factorization_of("tree", sampling.participation(40))
        yield {"sampling": sampling, "adjacency": "zero_out", "noise_multiplier": 0.0, "factorization": tree}
        for recipe in FACTORIZATIONS:
            factorization = factorization_of(recipe, sampling.participation(40), 3)
            yield {
                "sampling": sampling,
                "adjacency": "zero_out",
                "noise_multiplier": 2.0,
                "factorization": factorization,
            }
        for kind, report in REPORTS.items():
            noise = LocalReports(kind, 0.5 if report.pure else None)
            multiplier = 0.0 if report.pure else 3.0
            yield {"sampling": sampling, "adjacency": "replace_one", "noise_multiplier": multiplier, "noise": noise}
        for kind in SHARES:
            for secret in (False, True):
                noise = DistributedNoise(kind, dimension=100, levels=4096, shares=50, secret_cohorts=secret)
                yield {"sampling": sampling, "adjacency": "zero_out", "noise_multiplier": 3.0, "noise": noise}
        if sampling.draws_records:
            yield {"sampling": sampling, "adjacency": "zero_out", "noise_multiplier": 4.0, "records_per_unit": 3}


@pytest.mark.parametrize("fields", list(kinds()), ids=str)
def test_a_row_makes_the_mechanism_that_made_it(fields):
    ran = Mechanism(**COMMON, **fields)
    written = json.loads(json.dumps({name: encode(name, cell) for name, cell in columns_of(ran).items()}))
    row = {name: decode(name, cell) for name, cell in written.items()}
    again = mechanism_of(row)
    assert again == ran
    assert columns_of(again) == columns_of(ran)
    if ran.noise_multiplier or ran.noising.pure:
        assert epsilon(again, 1e-5, "rdp") == epsilon(ran, 1e-5, "rdp")
    assert "per client" in claim(row | {"delta": 1e-5, "epsilon_rdp": 1.0})


CYCLES = sampling_of("cyclic", 0.1, 1000)
SCHEMA = CYCLES.participation(40)


@pytest.mark.parametrize(
    "own",
    [
        Factorization("by hand", "toeplitz", SCHEMA, coefficients=(1.0, 0.5)),
        Factorization("banded by hand", "toeplitz", SCHEMA, coefficients=(1.0, 0.5)),
        banded_toeplitz(SCHEMA, 3, objective="max"),
        buffered_toeplitz(SCHEMA, buffers=2),
        independent_noise(SCHEMA),
        banded_toeplitz(Participation(num_steps=40, max_participations=5, min_separation=8), 3),
    ],
    ids=lambda own: own.name,
)
def test_a_factorization_of_ones_own_is_not_taken_for_another(own):
    ran = Mechanism(**COMMON, sampling=CYCLES, adjacency="zero_out", noise_multiplier=1.0, factorization=own)
    assert columns_of(ran)["noise"] == "correlated"
    assert mechanism_of(columns_of(ran)) is None


@pytest.mark.parametrize("missing", ["unit", "adjacency", "sampling", "sampling_rate", "noise_multiplier", "num_steps"])
def test_a_row_that_does_not_say_enough_says_no_mechanism(missing):
    ran = Mechanism(**COMMON, sampling=sampling_of("poisson", 0.1), adjacency="zero_out", noise_multiplier=1.0)
    assert mechanism_of(columns_of(ran) | {missing: None}) is None
    assert mechanism_of(columns_of(ran) | {"noise": "of some other kind"}) is None


@pytest.mark.parametrize("name", SAMPLINGS)
def test_a_sampling_whose_sentence_claims_no_amplification_gets_none_and_the_others_get_some(name):
    options = {"unit": "client", "adjacency": "zero_out", "noise_multiplier": 2.0, "num_steps": 20}
    rate = 1.0 if name == "full" else 0.05
    run = Mechanism(sampling=sampling_of(name, rate, 1000), **options)
    charged = Mechanism(
        sampling="full", sampling_rate=1.0, **options | {"num_steps": run.num_participations}
    )  # of as many steps as a unit can be in
    cost, full = (epsilon(each, delta=1e-5, accountant="rdp") for each in (run, charged))
    assert (cost < 0.9 * full) == run.sampling.amplifies
    assert ("no amplification" in run.describe()) == (cost == full and name != "full")


class Twice(Shuffled):
    """A kind of one's own that inherits the name of another, and is in every step."""

    def participation(self, num_steps):
        return Participation(num_steps, num_steps, 1)


class Loud(Noise):
    """Noise of one's own, of which ε is more than that of Gaussian noise."""

    trust = "central"

    def pair(self, run):
        return Pair("gaussian", 1.0, run.noise_multiplier / 3, run.num_participations)

    def describe(self, run):
        return " with loud noise"


class Taken(Poisson):
    name = "poisson"


class New(Poisson):
    name = "new"


@pytest.mark.parametrize(
    ("fields", "column", "word"),
    [
        ({"sampling": Twice(0.1, 1000)}, "sampling", "own(Twice)"),
        ({"sampling": Taken(0.1)}, "sampling", "own(Taken)"),
        ({"sampling": New(0.1)}, "sampling", "own(New)"),
        ({"sampling": Poisson(0.1), "noise": Loud()}, "noise", "own(Loud)"),
    ],
)
def test_a_kind_of_ones_own_is_not_taken_for_one_of_the_tables(fields, column, word):
    ran = Mechanism(**COMMON, adjacency="zero_out", noise_multiplier=2.0, **fields)
    row = columns_of(ran)
    assert row[column] == word
    assert mechanism_of(row) is None
    assert word in claim(row | {"delta": 1e-5, "epsilon_rdp": 1.0})


def test_a_kind_of_sampling_without_a_name_is_refused():
    class Nameless(Sampling):
        def describe(self, drawn):
            return drawn

    with pytest.raises(TypeError, match=r"^Nameless.name must be a word; set it in the class, for rows and claims\.$"):
        Nameless(0.1)
