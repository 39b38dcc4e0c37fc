"""Users who own several records that are drawn one by one: their ε, and the rows that they keep."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import dp_accounting
import numpy as np
import pytest
from dp_accounting import pld
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dpjax.accounting import (
    Cyclic,
    FixedSize,
    LocalReports,
    Mechanism,
    Participation,
    Poisson,
    Shuffled,
    accountants,
    banded_toeplitz,
    calibrate_noise,
    calibrate_noise_grid,
    divergences,
    epsilon,
    event,
    mixture,
    pairs,
    rdp_epsilon,
)
from dpjax.accounting.mechanism import dominating_pair
from dpjax.datasets import bound_contributions, load
from dpjax.datasets.owner_coins import owner_coins
from dpjax.results import claim
from experiments import config, jobs
from experiments.border import from_hydra
from experiments.launching.sweeper import expand
from experiments.privacy import as_run
from experiments.problems import choice
from experiments.setup import build
from experiments.task import Job

RELATION = {
    "add_or_remove_one": dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE,
    "zero_out": dp_accounting.NeighboringRelation.REPLACE_SPECIAL,
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DPJAX_CACHE_DIR", str(tmp_path / "cache"))


def run(records_per_unit, sampling_rate=0.01, noise_multiplier=4.0, num_steps=1000, **fields):
    known = {"unit": "user", "adjacency": "add_or_remove_one", "sampling": "poisson"}
    return Mechanism(
        **(known | fields),
        sampling_rate=sampling_rate,
        noise_multiplier=noise_multiplier,
        num_steps=num_steps,
        records_per_unit=records_per_unit,
    )


def one_step(records, rate, stddev):
    return pairs.Pair("records", rate, stddev, 1, records=records)


class TestSameAs:
    @pytest.mark.parametrize(("rate", "noise", "steps"), [(0.01, 1.0, 1000), (0.3, 3.0, 50), (0.001, 0.6, 1)])
    def test_one_record_is_the_subsampled_gaussian(self, rate, noise, steps):
        plain = run(1, rate, noise, steps)
        as_mixture = dominating_pair(plain)._replace(shape="records")
        for bound in (accountants.pld_bound, accountants.rdp_bound):
            assert bound(as_mixture, 1e-5) == pytest.approx(bound(dominating_pair(plain), 1e-5), rel=1e-6)

    @pytest.mark.parametrize("adjacency", list(RELATION))
    @pytest.mark.parametrize("accountant", ["pld", "rdp"])
    def test_all_records_in_all_steps_are_one_of_k_clip_norms(self, adjacency, accountant):
        plain = run(1, 1.0, 2.0, 20, sampling="full", adjacency=adjacency)
        for sampling in ("full", "poisson"):
            bounded = run(5, 1.0, 10.0, 20, sampling=sampling, adjacency=adjacency)
            assert epsilon(bounded, 1e-5, accountant) == pytest.approx(epsilon(plain, 1e-5, accountant), rel=1e-12)
            assert event(bounded) == event(plain)

    @pytest.mark.parametrize(
        ("adjacency", "records", "rate", "noise", "steps"),
        [("add_or_remove_one", 3, 0.01, 3.0, 200), ("zero_out", 6, 0.1, 10.0, 30)],
    )
    def test_pld_is_dp_accountings(self, adjacency, records, rate, noise, steps):
        # The event is written out here, as theirs defines it.
        drawn = np.arange(records + 1)
        chances = stats.binom.pmf(drawn, records, rate)
        theirs = dp_accounting.dp_event.MixtureOfGaussiansDpEvent(noise, drawn.tolist(), chances.tolist())
        accountant = pld.PLDAccountant(RELATION[adjacency])
        accountant.compose(dp_accounting.SelfComposedDpEvent(theirs, steps))
        mechanism = run(records, rate, noise, steps, adjacency=adjacency)
        assert epsilon(mechanism, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=2e-4)

    def test_event(self):
        mechanism = run(300, 0.01, 30.0, 100)
        step = event(mechanism).event
        assert (event(mechanism).count, step.standard_deviation) == (100, 30.0)
        assert sum(step.sampling_probs) == pytest.approx(1, rel=1e-12)
        assert step.sensitivities[-1] == 300
        assert len(step.sensitivities) < 60


class TestOneStep:
    records, rate, noise = 6, 0.2, 1.7
    x = np.linspace(-30, 40, 700_001)

    def pair(self):
        chances = stats.binom.pmf(np.arange(self.records + 1), self.records, self.rate)
        parts = [chance * stats.norm.pdf(self.x, drawn, self.noise) for drawn, chance in enumerate(chances)]
        return np.sum(parts, axis=0), stats.norm.pdf(self.x, 0, self.noise)

    @pytest.mark.parametrize("curve", ["remove", "add"])
    def test_hockey_stick_by_integration(self, curve):
        upper, lower = self.pair() if curve == "remove" else self.pair()[::-1]
        levels = np.array([-3.0, -1.4, -1.3, -0.1, 0.0, 0.1, 1.0, 1.33, 1.35, 3.0])
        expected = [np.maximum(upper - math.exp(level) * lower, 0).sum() * 1e-4 for level in levels]
        found = divergences.hockey_stick(one_step(self.records, self.rate, self.noise), curve, levels)
        assert found == pytest.approx(expected, abs=1e-9)

    def test_epsilon_of_one_step(self):
        upper, lower = self.pair()
        found = epsilon(run(self.records, self.rate, self.noise, 1), 1e-3)
        assert np.maximum(upper - math.exp(found) * lower, 0).sum() * 1e-4 == pytest.approx(1e-3, rel=1e-5)

    def test_no_gradients_of_a_user_exceed_the_curve(self):
        # Two records in two dimensions, of norm 1 and in any directions: by simulation, up to its own error.
        rng, rate, noise, size = np.random.default_rng(0), 0.3, 0.8, 400_000
        levels = np.array([0.0, 0.5, 1.0, 2.0])
        bound = divergences.hockey_stick(one_step(2, rate, noise), "remove", levels)
        for second in ([1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8], [0.3, 0.0]):
            shifts = np.array([[0, 0], [1, 0], second, [1 + second[0], second[1]]])
            chances = [(1 - rate) ** 2, rate * (1 - rate), rate * (1 - rate), rate**2]
            seen = shifts[rng.choice(4, size, p=chances)] + noise * rng.standard_normal((size, 2))
            exponents = (seen @ shifts.T - (shifts**2).sum(1) / 2) / noise**2
            ratio = np.exp(exponents) @ chances
            for level, most in zip(levels, bound, strict=True):
                terms = np.maximum(1 - math.exp(level) / ratio, 0)
                assert terms.mean() <= most + 4 * terms.std() / math.sqrt(size), second
                if second == [1.0, 0.0]:  # which attains it
                    assert terms.mean() == pytest.approx(most, abs=4 * terms.std() / math.sqrt(size))

    @pytest.mark.parametrize(
        ("records", "rate", "noise", "order"),
        [
            (3, 0.1, 0.5, 2.5),
            (8, 0.01, 1.0, 4.0),
            (20, 0.3, 4.0, 1.2),
            (40, 0.05, 10.0, 6.5),
            (40, 0.9, 3.0, 10.0),  # far to the left, where more records would be drawn than the output says
            (300, 0.001, 2.0, 1.1),
        ],
    )
    def test_renyi_by_summation(self, records, rate, noise, order):
        drawn = np.arange(records + 1)
        log_chances = stats.binom.logpmf(drawn, records, rate) - drawn**2 / (2 * noise**2)
        step = noise * min(1, noise) / 50
        x = np.arange(-(order - 1) * records - 15 * noise, order * records + 15 * noise, step)
        exponents = (log_chances + part[:, None] * drawn / noise**2 for part in np.array_split(x, 50))
        loss = np.concatenate([np.logaddexp.reduce(part, axis=1) for part in exponents])
        found = mixture.log_moments(records, rate, noise, order)
        for moment, power in zip(found, (order, 1 - order), strict=True):
            expected = np.logaddexp.reduce(power * loss + stats.norm.logpdf(x, 0, noise) + math.log(step))
            assert moment == pytest.approx(expected, rel=1e-9, abs=1e-13)
        renyi = divergences.renyi(one_step(records, rate, noise), [order])
        assert renyi == pytest.approx(max(found) / (order - 1), rel=1e-12)

    def test_renyi_where_it_is_too_dear_to_integrate(self, monkeypatch):
        exact = mixture.log_moments(30, 0.1, 3.0, 3.5)
        monkeypatch.setattr(mixture, "_MOST", 10)
        bound = mixture.log_moments(30, 0.1, 3.0, 3.5)
        assert max(exact) < bound[0] == bound[1] <= 3.5 * 2.5 * 30**2 / (2 * 3.0**2)


class TestFolding:
    @pytest.mark.parametrize(("records", "rate"), [(1, 0.5), (2, 1e-20), (16, 0.01), (300, 0.001), (300, 0.9)])
    def test_rare_numbers_count_as_all(self, records, rate):
        counts, log_chances = mixture.folded_chances(records, rate)
        chances = np.exp(log_chances)
        assert chances.sum() == pytest.approx(1, rel=1e-12)
        assert counts[-1] == records
        # The chance of at least so many never falls below the true one, and exceeds it by next to nothing.
        folded = np.array([chances[counts >= drawn].sum() for drawn in range(records + 1)])
        true = stats.binom.sf(np.arange(records + 1) - 1, records, rate)
        assert np.all(folded >= true * (1 - 1e-9))
        assert np.all(folded <= true * (1 + 1e-9) + 2e-26)

    def test_folding_more_only_raises_epsilon(self, monkeypatch):
        pair = dominating_pair(run(20, 0.02, 4.0, 300))
        exact = accountants.pld_bound(pair, 1e-5)
        mixture.mixture.cache_clear()
        monkeypatch.setattr(mixture, "FOLDED", 1e-7)
        assert exact < accountants.pld_bound(pair, 1e-5)
        mixture.mixture.cache_clear()


class TestLaws:
    @pytest.mark.parametrize("accountant", ["pld", "rdp"])
    def test_more_records_cost_more(self, accountant):
        costs = [epsilon(run(records), 1e-5, accountant) for records in (1, 2, 3, 8, 30, 200)]
        assert costs == sorted(set(costs))
        # And never more than if all were always drawn.
        for records in (2, 8):
            assert epsilon(run(records), 1e-5, accountant) < epsilon(run(records, 1.0), 1e-5, accountant)

    @pytest.mark.parametrize("records", [2, 4, 16])
    @pytest.mark.parametrize("noise", [3.0, 20.0])
    def test_rdp_bounds_pld(self, records, noise):
        mechanism = run(records, 0.02, noise, 500)
        tight, loose = epsilon(mechanism, 1e-6), epsilon(mechanism, 1e-6, "rdp")
        assert 0.7 * loose < tight < loose
        assert rdp_epsilon(mechanism, 1e-6, orders=[1.5, 2, 4, 8, 16]) >= loose * (1 - 1e-9)

    @pytest.mark.parametrize("records", [2, 4])
    def test_below_group_privacy(self, records):
        # k records of ε, δ each: k ε, and δ (e^{k ε} - 1) / (e^ε - 1).
        mechanism = run(records, 0.01, 2.0, 1000)
        low, high = 1e-12, 1e-5
        for _ in range(40):
            middle = math.sqrt(low * high)
            single = epsilon(run(1, 0.01, 2.0, 1000), middle)
            grouped = middle * math.expm1(records * single) / math.expm1(single)
            low, high = (middle, high) if grouped <= 1e-5 else (low, middle)
        assert epsilon(mechanism, 1e-5) < records * epsilon(run(1, 0.01, 2.0, 1000), low)

    def test_drawing_the_user_with_all_records_is_not_the_same(self):
        # At one rate the mean number of a user's records is alike, but to have them all at once is worse.
        together = run(1, 0.01, 4.0 / 8, 1000, adjacency="zero_out")
        assert epsilon(run(8, adjacency="zero_out"), 1e-5) < epsilon(together, 1e-5)

    def test_far_out(self):
        assert epsilon(run(16, 0.5, 0.02, 1_000_000), 1e-6) > 1e9
        assert 0 <= epsilon(run(16, 1e-6, 1e4, 1000), 1e-6) < 1e-4
        assert epsilon(run(4, noise_multiplier=0.0), 1e-6) == math.inf
        one = run(4, num_steps=1)
        assert epsilon(one, 1e-20) < epsilon(one, 1e-30) == epsilon(one, 1e-30, "rdp")

    def test_overflow_is_paid_for(self):
        charged = epsilon(run(4, overflow_probability=1e-14), 1e-5)
        assert charged == epsilon(run(4), 1e-5 * 0.999) > epsilon(run(4), 1e-5)


class TestCalibration:
    @pytest.mark.parametrize(("records", "rate"), [(8, 0.02), (300, 0.01), (300, 0.4)])
    def test_safe_and_tight(self, records, rate):
        mechanism = run(records, rate, 0.0, 400)
        for accountant in ("pld", "rdp"):
            targets = [0.5, 8.0]
            found = calibrate_noise_grid(mechanism, epsilons=targets, delta=1e-6, accountant=accountant)
            for target, noise in zip(targets, found, strict=True):
                made = replace(mechanism, noise_multiplier=noise)
                assert target * 0.9995 <= epsilon(made, 1e-6, accountant) <= target

    def test_records_are_part_of_the_question(self):
        one, two = (calibrate_noise(run(records), epsilon=1.0, delta=1e-5) for records in (1, 2))
        assert two > 1.5 * one


class TestMechanism:
    def test_describe(self):
        words = run(8, population=80_000).describe()
        assert "user-level privacy, neighbours add or remove one user; each user owns at most 8 records" in words
        assert "which are drawn one by one; Poisson sampling at rate 0.01 of 80,000 records;" in words
        assert "records" not in run(1, population=80_000).describe()

    def test_from_sampler(self):
        sampler = SimpleNamespace(sampling=Poisson(0.04, 600), overflow_probability=0.0)
        made = Mechanism.from_sampler(sampler, unit="client", adjacency="zero_out", num_steps=10, records_per_unit=3)
        assert (made.records_per_unit, made.population) == (3, 600)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"records_per_unit": 0}, "records_per_unit=0 must be ≥ 1; it counts"),
            ({"records_per_unit": True}, "records_per_unit=True must be a whole number"),
            ({"unit": "example"}, "records_per_unit=2 needs unit='user' or 'client', as unit='example'"),
            ({"adjacency": "replace_one"}, "has no account with adjacency='replace_one'; use 'add_or"),
            ({"sampling": FixedSize(0.01, 100)}, "has no account with sampling='fixed_size';"),
            ({"sampling": Shuffled(0.01, 100), "adjacency": "zero_out"}, "no account with sampling='shuffled'"),
            ({"sampling": Cyclic(0.01, 100), "adjacency": "zero_out"}, "use 'poisson' or 'full'"),
            (
                {"factorization": banded_toeplitz(Participation(9, 9, 1), 2), "num_steps": 9},
                "no account with correlated noise",
            ),
            ({"noise": LocalReports("gaussian")}, "has no account with noise that clients add; use noise"),
        ],
    )
    def test_refusals(self, change, message):
        with pytest.raises(ValueError) as refused:  # noqa: PT011
            replace(run(2), **change)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_claim_says_what_was_drawn(self):
        row = {"epsilon_pld": 2.0, "delta": 1e-5, "unit": "user", "sampling": "poisson", "sampling_rate": 0.01}
        assert "per user of at most 8 records, Poisson q=0.01 of records;" in claim(row | {"records_per_unit": 8})
        for nothing in (1, None, math.nan):
            assert "records" not in claim(row | {"records_per_unit": nothing})


class TestCommands:
    def call(self, capsys, *words):
        from dpjax.cli import main

        with pytest.raises(SystemExit) as done:
            main([*words, "--sampling-rate", "0.01", "--num-steps", "100", "--delta", "1e-5"])
        return done.value.code, capsys.readouterr()

    def test_epsilon(self, capsys):
        asked = ["epsilon", "--unit", "user", "--records-per-unit", "4", "--noise-multiplier", "3", "--json"]
        found = json.loads(self.call(capsys, *asked)[1].out)
        assert found["records_per_unit"] == 4
        for accountant in ("pld", "rdp"):
            assert found[f"epsilon_{accountant}"] == pytest.approx(
                epsilon(run(4, noise_multiplier=3.0, num_steps=100), 1e-5, accountant)
            )
        assert "per user of at most 4 records" in found["claim"]

    def test_calibrate(self, capsys):
        asked = ["calibrate", "--unit", "client", "--records-per-unit", "4", "--epsilon", "2", "--json"]
        (found,) = json.loads(self.call(capsys, *asked)[1].out)
        assert found["noise_multiplier"] == calibrate_noise(
            run(4, num_steps=100, unit="client"), epsilon=2.0, delta=1e-5
        )

    def test_a_mistake_names_the_flag(self, capsys):
        code, said = self.call(capsys, "epsilon", "--records-per-unit", "4", "--noise-multiplier", "3")
        assert code != 0
        assert "--records-per-unit 4 needs --unit 'user' or 'client'" in said.err


class TestBoundContributions:
    @given(owners=st.lists(st.integers(-3, 6), max_size=40), most=st.integers(1, 5), seed=st.integers(0, 3))
    def test_at_most_so_many_and_no_fewer(self, owners, most, seed):
        owners = np.array(owners, np.int64)
        kept = bound_contributions(owners, most, seed=seed)
        assert np.all(np.diff(kept) > 0)
        for owner, count in zip(*np.unique(owners, return_counts=True), strict=True):
            assert np.sum(owners[kept] == owner) == min(count, most)

    @given(
        owners=st.lists(st.integers(0, 6), max_size=40), gone=st.integers(0, 6), at=st.integers(0, 40), seed=st.just(1)
    )
    def test_another_user_changes_nothing(self, owners, gone, at, seed):
        """Rows move when others come or go, so a user's choice is compared by its own first, second, ... row."""
        owners = np.array(owners, np.int64)
        # The user is taken out, or comes in as a block of rows anywhere.
        for other in (owners[owners != gone], np.insert(owners, min(at, len(owners)), [gone] * 9)):
            for owner in set(owners.tolist()) - {gone}:
                chosen = []
                for those in (owners, other):
                    kept = bound_contributions(those, 2, seed=seed)
                    chosen.append(np.searchsorted(np.flatnonzero(those == owner), kept[those[kept] == owner]).tolist())
                assert chosen[0] == chosen[1]

    def test_uniform(self):
        owners = np.repeat(np.arange(4000), 5)
        kept = bound_contributions(owners, 2, seed=3)
        pairs = (kept % 5).reshape(-1, 2)
        _, counts = np.unique(pairs, axis=0, return_counts=True)
        assert len(counts) == 10
        assert stats.chisquare(counts).pvalue > 1e-4
        assert not np.array_equal(kept, bound_contributions(owners, 2, seed=4))
        assert np.array_equal(kept, bound_contributions(owners, 2, seed=3))

    def test_nothing_to_bound(self):
        assert bound_contributions(np.array([], np.int64), 3, seed=0).shape == (0,)
        assert bound_contributions(np.array([]), 3, seed=0).tolist() == []
        assert bound_contributions(np.array([5, 1, 5], np.int32), 2, seed=0).tolist() == [0, 1, 2]

    @pytest.mark.parametrize(
        ("owners", "most", "seed", "message"),
        [
            ([1, 2], 0, 0, "max_records=0 must be ≥ 1"),
            ([1, 2], 1, -1, "seed=-1 must be ≥ 0"),
            ([1.0, 2.0], 1, 0, "type float64 must be a vector of whole numbers"),
            ([[1, 2]], 1, 0, r"owners of shape \(1, 2\)"),
        ],
    )
    def test_mistakes(self, owners, most, seed, message):
        with pytest.raises(ValueError, match=message):
            bound_contributions(np.array(owners), most, seed=seed)


# ---- experiments ---------------------------------------------------------------------------------------------------


def composed(*overrides):
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        few = ["model=logistic", "optimizer.num_steps=3", "privacy.delta=1e-4"]
        return from_hydra(compose("config", [*few, *overrides]))


@pytest.fixture
def mails(monkeypatch):
    """80 rows of 20 senders: one sent 40 of them, the others 2 or 3."""
    owners = np.concatenate([np.zeros(40, np.int32), np.arange(40, dtype=np.int32) % 19 + 1])
    rows = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    labels = (rows[:, 0] > 0).astype(np.int32)
    whole = replace(
        load("breast_cancer"),
        name="mails",
        train_inputs=rows,
        train_labels=labels,
        test_inputs=rows,
        test_labels=labels,
        input_shape=(5,),
        train_units=owners,
    )
    monkeypatch.setattr(choice, "_load", lambda name, by_owner: whole)
    return whole


def test_what_a_config_runs_is_what_is_accounted_for_and_nobody_has_more_rows(mails):
    for most in (1, 3, 100):
        made = build(composed(f"privacy.records_per_unit={most}", "privacy.delta=1e-3"))
        left = np.unique(made.problem.dataset.train_units, return_counts=True)[1]
        assert left.max() == min(most, 40)
        assert len(made.arrays.units[0]) == made.sampler.population == np.minimum(left, most).sum()
        ran = as_run(made.mechanism, composed().federated, made.sampler, 2.0)
        asked = Mechanism.from_sampler(
            made.sampler,
            unit="user",
            adjacency="zero_out",
            noise_multiplier=2.0,
            num_steps=3,
            records_per_unit=most,
        )
        assert ran == asked
        assert made.num_units == 20


def test_an_owner_of_more_rows_costs_more_noise_and_rows_say_whose_the_budget_is(mails, tmp_path):
    found = {}
    for most in (1, 4):
        cfg = composed(f"privacy.records_per_unit={most}", "num_seeds=1", "privacy.delta=1e-3")
        (outcome,) = jobs.run_group([Job(cfg, tmp_path / str(most), "")])
        assert outcome.error is None, outcome.error
        found[most] = outcome.rows[0]
    assert {(row["unit"], row["partition"]) for row in found.values()} == {("user", "natural")}
    assert [row["records_per_unit"] for row in found.values()] == [1, 4]
    assert found[4]["noise_multiplier"] > 1.5 * found[1]["noise_multiplier"]
    assert "per user of at most 4 records" in claim(found[4])
    # δ is compared with the number of owners, who are fewer than their rows.
    (outcome,) = jobs.run_group([Job(composed("privacy.records_per_unit=4", "privacy.delta=0.05"), tmp_path, "")])
    assert "must be below 1/population = 1/20 users" in str(outcome.error)


def test_references_keep_the_bound_on_rows():
    expanded = expand(["privacy.epsilon=1,8", "privacy.clip_norm=0.1,1", "privacy.records_per_unit=1,4"])
    assert [job for job in expanded if "privacy.epsilon=inf" in job] == [
        ("privacy.records_per_unit=1", "privacy.epsilon=inf"),
        ("privacy.records_per_unit=4", "privacy.epsilon=inf"),
    ]
    assert len(expanded) == 2 + 8


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["privacy.records_per_unit=0"], "privacy.records_per_unit=0 must be ≥ 1; leave it null"),
        (
            ["federated=fedavg"],
            "privacy.records_per_unit=2 is for central training; federated=fedsgd draws",
        ),
        (["optimizer.sampling=fixed_size"], "records_per_unit=2 has no account with optimizer.sampling=fixed_size"),
        (
            ["privacy.adjacency=replace_one"],
            "has no account with privacy.adjacency=replace_one; use add_or_remove_one or",
        ),
        (["privacy.noise=correlated"], "privacy.records_per_unit=2 has no account with correlated noise"),
        (["data.num_train=10"], "privacy.records_per_unit=2 needs to know whose the rows are"),
        (["data=digits"], "privacy.records_per_unit=2 needs to know whose the rows are, which data=digits"),
    ],
)
def test_a_bound_on_rows_that_nothing_accounts_for_is_refused(overrides, sentence):
    with pytest.raises(config.ConfigError, match=sentence):
        build(composed("data=breast_cancer", "privacy.records_per_unit=2", *overrides))


@given(
    st.integers(0, 2**200),
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9), st.integers(1, 400)), max_size=12),
)
def test_coins_of_all_owners_at_once_are_those_of_each_ones_generator(seed, owners):
    names, counts = (np.array(each, np.int64) for each in (zip(*owners, strict=True) if owners else ([], [])))
    own = [np.random.SeedSequence(seed, spawn_key=(name % 2**64,)) for name in names.tolist()]
    expected = [np.random.default_rng(one).random(count) for one, count in zip(own, counts, strict=True)]
    np.testing.assert_array_equal(owner_coins(seed, names, counts), np.concatenate([[], *expected]))
