"""A sampler of one's own by file: accounted as it states, named as its own in its claim, refused where it can't be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dpjax import Mechanism, draw_cohort, epsilon
from dpjax.accounting import Poisson
from dpjax.accounting.samplings import BallsInBins
from dpjax.results import claim, load
from dpjax.results.mechanisms import mechanism_of
from experiments import setup
from experiments.config import ConfigError
from tests.test_own_model import ROOT, rows_of, write_files
from tests.test_plugins import made

FEW = ["model=logistic", "optimizer.num_steps=8", "num_seeds=1", "privacy.accountant=rdp", "figures=false"]
HEAD = """
import jax
import jax.numpy as jnp
from dpjax.accounting import Cyclic, Poisson
from dpjax.accounting.samplings import BallsInBins, FixedSize, Sampling


def make_sampler(population, sampling_rate, num_steps):
"""
COINS = "jax.random.bernoulli(jax.random.fold_in(key, step), {}, (population,))"
POISSON = f"    return Poisson(sampling_rate), lambda key, step: {COINS.format('sampling_rate')}\n"


def test_a_sampler_of_one_s_own_is_accounted_as_it_states_and_named_as_its_own(main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_files(ROOT / "docs/how-to/own-model.md", tmp_path)
    code, _, err = main("plugin=my_sampler.py", *FEW)
    assert code == 0, err
    (row,) = rows_of(tmp_path)
    assert row["sampling"] == "own(my_sampler.py, stated as balls_in_bins)"
    assert "zero_out, own(my_sampler.py, stated as balls_in_bins) q=0.25, 8 steps;" in claim(row)
    assert mechanism_of(row) is None  # it is not passed for the kind itself, wherever a row is read
    stated = Mechanism(
        unit="example",
        adjacency="zero_out",
        sampling=BallsInBins(0.25, row["population"]),
        noise_multiplier=row["noise_multiplier"],
        num_steps=8,
        overflow_probability=row["overflow_probability"],
    )
    assert row["epsilon_rdp"] == pytest.approx(epsilon(stated, row["delta"], "rdp"))
    assert "states to be balls-in-bins epochs, at rate 0.25" in built(tmp_path, "").mechanism.describe()
    assert load(tmp_path)["sampling"].tolist() == [row["sampling"]]


def built(tmp_path, text, *more):
    text = text or (tmp_path / "my_sampler.py").read_text()
    return setup.build(made(tmp_path, text, "optimizer.num_steps=8", *more))


def test_its_cohorts_are_those_that_its_draw_names_and_no_row_decides(tmp_path):
    sampler = built(tmp_path, HEAD + POISSON).sampler
    positions = jnp.arange(sampler.population)
    for step in range(3):
        key = jax.random.key(5)
        cohort, info = draw_cohort(sampler, key, step, positions)
        wanted = np.flatnonzero(jax.random.bernoulli(jax.random.fold_in(key, step), 0.25, positions.shape))
        assert np.asarray(cohort.units)[np.asarray(cohort.mask)].tolist() == wanted.tolist()
        assert int(info.cohort_size) == len(wanted)
        assert not info.overflowed
    assert sampler.expected_cohort_size == 0.25 * sampler.population
    assert 0 < sampler.overflow_probability < 1e-6
    assert isinstance(sampler.sampling, Poisson)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            POISSON.replace("Poisson(sampling_rate)", "Poisson(sampling_rate / 1.1)"),
            r"places in 30 cohorts where Poisson\(0.227273\) has at most",
        ),
        (
            f"    return Poisson(0.25), lambda key, step: {COINS.format('0.25')}.at[7].set(True)\n",
            r"has 30 cohorts of 30 with one unit where Poisson\(0.25\)",
        ),
        (
            POISSON.replace("fold_in(key, step)", "fold_in(jax.random.key(1), step)"),
            "the same for every key, and Poisson",
        ),
        (
            POISSON.replace("Poisson(sampling_rate)", "BallsInBins(0.25)"),
            r"where BallsInBins\(0.25\) has at most 8; state",
        ),
        (POISSON.replace("Poisson(sampling_rate)", "Cyclic(0.25, 1436)"), "it states Cyclic.*and there are 1438 units"),
        (
            POISSON.replace("Poisson(sampling_rate)", "FixedSize(359 / 1438, population)"),
            r"units in a cohort where FixedSize\(0.24\d+\) has at most 359; state",
        ),
    ],
)
def test_draws_that_contradict_what_is_stated_are_refused(body, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        built(tmp_path, HEAD + body, "optimizer.num_steps=30")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("    return 'poisson', 0.25\n", "gave .*; return what it is accounted as, such as dpjax.accounting.Poisson"),
        (
            "    return Poisson(0.25), lambda step, key: None\n",
            "its draw takes .step, key. in another order than its draw",
        ),
        ("    return Poisson(0.25), lambda key, step: jnp.arange(3)\n", r"its draw gave int32\[3\]; give bool\[1438\]"),
        (
            "    return Poisson(0.25), lambda key, step: {}['x']\n",
            "its draw.key, step. failed in line 9 .KeyError: 'x'.; mend",
        ),
        ("    return Poisson(2.0), None\n", "make_sampler.* failed in line 9 .ValueError: sampling_rate=2.0"),
    ],
)
def test_what_is_no_sampler_is_refused_in_one_sentence(body, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence) as raised:
        built(tmp_path, HEAD + body)
    assert "\n" not in str(raised.value)


def test_a_kind_that_nobody_knows_has_slots_for_everybody_and_claims_no_amplification(tmp_path):
    own = "\n\nclass Half(Sampling):\n    name, word, manner = 'half', 'half', 'every other step'\n"
    body = "    return Half(0.5), lambda key, step: (jnp.arange(population) + step) % 2 == 0\n"
    ran = built(tmp_path, HEAD + body + own)
    assert ran.sampler.capacity == ran.sampler.population
    full = Mechanism(
        unit="example", adjacency="zero_out", sampling="full", sampling_rate=1, noise_multiplier=1.0, num_steps=8
    )
    stated = Mechanism(
        unit="example", adjacency="zero_out", sampling=ran.mechanism.sampling, noise_multiplier=1.0, num_steps=8
    )
    assert epsilon(stated, 1e-5, "rdp") == pytest.approx(epsilon(full, 1e-5, "rdp"))


def test_neighbours_that_the_stated_kind_has_no_account_of_are_refused(main, tmp_path):
    walk = "    return Shuffled(0.5, population), lambda key, step: jnp.arange(population) % 2 == step % 2\n"
    (tmp_path / "mine.py").write_text(HEAD.replace("Cyclic, ", "Shuffled, ") + walk)
    own = [f"plugin={tmp_path / 'mine.py'}", "optimizer.sampling_rate=0.5", *FEW]
    code, _, err = main(*own, "privacy.adjacency=add_or_remove_one")
    assert code != 0
    assert "add_or_remove_one has no account with" in err.replace("'", "")
    assert main(*own)[0] == 0


@pytest.mark.parametrize(
    "more",
    [
        ("federated=fedavg", "federated.clients_per_round=10"),
        ("optimizer.sampling=cyclic", "privacy.noise=correlated"),
    ],
)
def test_it_is_for_examples_under_independent_noise(more, main, tmp_path):
    (tmp_path / "mine.py").write_text(HEAD + POISSON)
    code, _, err = main(f"plugin={tmp_path / 'mine.py'}", *FEW, *more)
    assert code != 0
    assert "make_sampler" in err
    assert err.strip().count("\n") <= 1
