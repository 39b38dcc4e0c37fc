"""What is released before a run is in its ε: by the peer's accountant, closed forms, and in each place that asks."""

import dataclasses
import math

import pytest
from dp_accounting import NeighboringRelation, get_epsilon_gaussian
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from dpjax import accounting
from dpjax.accounting import Mechanism, Release, calibrate_noise, epsilon
from dpjax.accounting.accountants import epsilon_of_release
from dpjax.accounting.calibration_cache import calibration_key
from dpjax.report.spent_curve import epsilon_over_steps
from dpjax.results.mechanisms import columns_of, mechanism_of

RUN = Mechanism(
    unit="example",
    adjacency="add_or_remove_one",
    sampling="poisson",
    sampling_rate=0.02,
    noise_multiplier=1.1,
    num_steps=300,
)
DELTA = 1e-5


def with_release(noise, run=RUN, **changes):
    return dataclasses.replace(run, released=Release(noise), **changes)


@pytest.mark.parametrize("noise", [0.8, 3.0, 20.0])
@pytest.mark.parametrize(("steps", "rate"), [(1, 0.02), (300, 0.02), (300, 1.0)])
def test_the_total_is_what_the_peer_composes(noise, steps, rate):
    kind = {"sampling": "full", "sampling_rate": 1.0} if rate == 1 else {"sampling": "poisson", "sampling_rate": rate}
    kept = {"unit": "example", "adjacency": "add_or_remove_one", "noise_multiplier": 1.1, "num_steps": steps}
    run = Mechanism(**kept, **kind, released=Release(noise))
    peer = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE).compose(accounting.event(run)).get_epsilon(DELTA)
    assert epsilon(run, DELTA) == pytest.approx(peer, rel=2e-3)
    rdp = RdpAccountant(neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    theirs = rdp.compose(accounting.event(run)).get_epsilon(DELTA)
    assert epsilon(run, DELTA) <= epsilon(run, DELTA, "rdp") <= theirs * 1.001


@pytest.mark.parametrize("adjacency", ["add_or_remove_one", "zero_out", "replace_one"])
def test_of_full_participation_all_is_one_gaussian(adjacency):
    run = Mechanism(
        unit="client", adjacency=adjacency, sampling="full", sampling_rate=1.0, noise_multiplier=6.0, num_steps=4
    )
    one = 1 / math.sqrt(4 / 6.0**2 + 1 / 5.0**2) / (2 if adjacency == "replace_one" else 1)
    assert epsilon(with_release(5.0, run), DELTA) == pytest.approx(get_epsilon_gaussian(one, DELTA), rel=1e-6)


@pytest.mark.parametrize("sampling", ["fixed_size", "shuffled", "poisson"])
@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_a_release_is_never_free_and_much_noise_is_nearly(sampling, accountant):
    run = Mechanism(
        unit="example",
        adjacency="replace_one" if sampling != "poisson" else "zero_out",
        sampling=sampling,
        sampling_rate=0.02,
        population=1000,
        noise_multiplier=2.0,
        num_steps=100,
    )
    plain, much, some, little = (
        epsilon(each, DELTA, accountant) for each in (run, *(with_release(noise, run) for noise in (1e4, 10.0, 1.0)))
    )
    assert plain <= much * (1 + 1e-4)
    assert much == pytest.approx(plain, rel=1e-3)
    assert much < some < little
    assert epsilon_of_release(with_release(1.0, run), DELTA) < little


def test_names_are_paid_out_of_delta():
    named = dataclasses.replace(RUN, released=Release(10.0, 4e-6))
    assert epsilon(named, DELTA) == pytest.approx(epsilon(with_release(10.0), 6e-6), rel=1e-9)
    assert epsilon(dataclasses.replace(RUN, released=Release(10.0, DELTA)), DELTA) == math.inf


@pytest.mark.parametrize("accountant", ["pld", "rdp"])
def test_calibration_leaves_room_for_the_release(accountant):
    run = with_release(15.0)
    noise = calibrate_noise(run, epsilon=1.0, delta=DELTA, accountant=accountant)
    assert noise > calibrate_noise(RUN, epsilon=1.0, delta=DELTA, accountant=accountant)
    assert 0.999 <= epsilon(dataclasses.replace(run, noise_multiplier=noise), DELTA, accountant) <= 1.0


def test_a_target_below_the_release_is_refused_in_a_sentence():
    alone = epsilon_of_release(with_release(3.0), DELTA)
    with pytest.raises(ValueError, match=r"is not above the 1.27 that what is released before the run costs alone"):
        calibrate_noise(with_release(3.0), epsilon=alone * 0.999, delta=DELTA)
    assert calibrate_noise(with_release(3.0), epsilon=alone * 1.001, delta=DELTA) > 10


def test_calibrations_are_kept_apart_and_old_ones_stay_valid():
    asked = {"epsilon": 1.0, "delta": DELTA, "accountant": "pld"}
    assert "released" not in calibration_key(RUN, **asked)
    assert calibration_key(with_release(3.0), **asked) != calibration_key(with_release(4.0), **asked)


def test_a_row_says_it_and_its_curve_begins_above_it():
    run = dataclasses.replace(with_release(4.0), released=Release(4.0, 1e-9))
    row = columns_of(run) | {"delta": DELTA, "epsilon_rdp": epsilon(run, DELTA, "rdp")}
    assert mechanism_of(row) == run
    assert mechanism_of(columns_of(RUN)) == RUN
    first, last = epsilon_over_steps(row, [1, 300])
    assert first >= epsilon_of_release(run, DELTA)
    assert last == pytest.approx(epsilon(run, DELTA, "rdp"), rel=0.01)
    assert "counts released with noise multiplier 4, and names with chance 1e-09" in run.describe()


def test_the_central_limit_has_it_too():
    alone = epsilon_of_release(with_release(3.0), DELTA)
    assert accounting.spent(with_release(3.0), [1], DELTA, "gdp")[0] > alone


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Release(0.0), "noise_multiplier=0.0 must be finite and > 0"),
        (lambda: Release(2.0, 1.5), "delta=1.5"),
        (lambda: dataclasses.replace(RUN, released=3.0), "released=3.0"),
        (
            lambda: Mechanism(
                unit="client",
                adjacency="replace_one",
                sampling="full",
                sampling_rate=1.0,
                noise_multiplier=0.0,
                num_steps=2,
                noise=accounting.LocalReports("privunit", 1.0),
                released=Release(2.0),
            ),
            "released has no account with noise that clients add",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, why):
    with pytest.raises((ValueError, TypeError), match=why):
        make()
