"""Partitions: every row exactly once, the same for the same seed, and as skewed as alpha says."""

import sys
from collections.abc import Callable
from types import CodeType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dpjax.federated import (
    dirichlet_partition,
    iid_partition,
    natural_partition,
    partitions,
    quantity_partition,
    sampled_partition,
    shard_partition,
)
from dpjax.federated.flat_clients import padded, shuffle_each, top_up
from dpjax.types import Records

SEEDS = st.integers(0, 2**32 - 1)


def rows_of(clients: Records) -> np.ndarray:
    return np.asarray(clients.index)[np.asarray(clients.mask)]


def check_cover(clients: Records, num_examples: int, num_clients: int, min_records: int) -> None:
    index, mask = np.asarray(clients.index), np.asarray(clients.mask)
    assert index.shape == mask.shape == (num_clients, mask.sum(1).max())
    assert index.dtype == np.int32
    assert mask.dtype == bool
    assert sorted(rows_of(clients)) == list(range(num_examples))
    assert (mask.sum(1) >= min_records).all()
    assert (index[~mask] == 0).all()
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()  # padding only at the end


@given(st.integers(1, 300), st.integers(1, 40), SEEDS)
@settings(max_examples=60, deadline=None)
def test_iid_covers_every_row_once_and_evenly(num_examples, num_clients, seed):
    if num_clients > num_examples:
        with pytest.raises(ValueError, match=f"num_clients={num_clients} cannot share {num_examples} rows"):
            iid_partition(num_examples, num_clients, seed=seed)
        return
    clients = iid_partition(num_examples, num_clients, seed=seed)
    check_cover(clients, num_examples, num_clients, 1)
    assert np.ptp(np.asarray(clients.mask).sum(1)) <= 1


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=200),
    st.integers(1, 20),
    st.sampled_from([1e-3, 0.05, 0.5, 10.0, 1e6]),
    st.integers(0, 3),
    SEEDS,
)
@settings(max_examples=80, deadline=None)
def test_dirichlet_covers_every_row_once_with_no_client_short(labels, num_clients, alpha, min_records, seed):
    labels = np.array(labels)
    if num_clients * min_records > len(labels):
        with pytest.raises(ValueError, match=r"num_clients"):
            dirichlet_partition(labels, num_clients, alpha=alpha, seed=seed, min_records=min_records)
        return
    clients = dirichlet_partition(labels, num_clients, alpha=alpha, seed=seed, min_records=min_records)
    check_cover(clients, len(labels), num_clients, min_records)


def test_partitions_depend_on_the_seed_and_on_nothing_else():
    labels = np.arange(500) % 10
    for make in (
        lambda seed: iid_partition(500, 20, seed=seed),
        lambda seed: dirichlet_partition(labels, 20, alpha=0.3, seed=seed),
    ):
        np.random.seed(1)  # noqa: NPY002 - the global state must not matter
        first = make(7)
        np.random.seed(2)  # noqa: NPY002
        for one, other in zip(first, make(7), strict=True):
            np.testing.assert_array_equal(one, other)
        assert rows_of(make(8)).tolist() != rows_of(first).tolist()


def label_mixes(clients: Records, labels: np.ndarray) -> np.ndarray:
    index, mask = np.asarray(clients.index), np.asarray(clients.mask)
    counts = np.stack([np.bincount(labels[i[m]], minlength=labels.max() + 1) for i, m in zip(index, mask, strict=True)])
    return counts / counts.sum(1, keepdims=True)


def test_large_alpha_gives_every_client_the_label_mix_of_the_whole():
    labels = np.repeat(np.arange(10), 1000)
    clients = dirichlet_partition(labels, 10, alpha=1e8, seed=0)
    # Shares deviate by 1e-5, so only the rounding to whole rows is left: one row of a class of 100.
    np.testing.assert_allclose(label_mixes(clients, labels), 0.1, atol=2e-3)
    assert np.ptp(np.asarray(clients.mask).sum(1)) <= 20


@pytest.mark.parametrize("alpha", [0.1, 0.5, 5.0])
def test_shares_of_a_class_are_as_concentrated_as_dirichlet_says(alpha):
    """E Σ_k p_k² = (α+1)/(Kα+1); the mean of 20 × 25 classes must lie within 5 standard errors plus rounding."""
    num_clients, per_class, num_classes = 10, 400, 25
    labels = np.repeat(np.arange(num_classes), per_class)
    squares = []
    for seed in range(20):
        clients = dirichlet_partition(labels, num_clients, alpha=alpha, seed=seed, min_records=0)
        counts = np.stack(
            [
                np.bincount(labels[i[m]], minlength=num_classes)
                for i, m in zip(np.asarray(clients.index), np.asarray(clients.mask), strict=True)
            ]
        )
        squares += list(((counts / per_class) ** 2).sum(0))
    expected = (alpha + 1) / (num_clients * alpha + 1)
    error = np.std(squares) / np.sqrt(len(squares))
    # Rounding moves a share by < 1/400 and the sum of squares by < 2/400 · Σ p_k.
    assert abs(np.mean(squares) - expected) < 5 * error + 2 / per_class


def test_small_alpha_leaves_a_client_few_classes():
    labels = np.repeat(np.arange(10), 500)
    skewed, even = (
        label_mixes(dirichlet_partition(labels, 20, alpha=alpha, seed=3), labels).max(1).mean()
        for alpha in (0.05, 100.0)
    )
    assert skewed > 0.6  # measured .78; ten equal classes would give .1
    assert even < 0.15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clients": 0, "alpha": 1.0}, "num_clients=0 must be ≥ 1"),
        ({"num_clients": 11, "alpha": 1.0}, "num_clients=11 cannot share 10 rows; use at most 10"),
        ({"num_clients": 4, "alpha": 1.0, "min_records": 3}, "of 3 rows each cannot share 10 rows; use at most 3"),
        ({"num_clients": 2, "alpha": 0.0}, "alpha=0.0 must be finite and > 0"),
        ({"num_clients": 2, "alpha": float("inf")}, "alpha=inf must be finite"),
        ({"num_clients": 2, "alpha": float("nan")}, "alpha=nan must be finite"),
        ({"num_clients": 2, "alpha": 1.0, "min_records": -1}, "min_records=-1 must be ≥ 0"),
    ],
)
def test_wrong_values_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        dirichlet_partition(np.zeros(10, np.int64), **arguments, seed=0)


# ---- shards, sizes, owners, shared rows -----------------------------------------------------------------------------


@given(st.integers(20, 300), st.integers(1, 10), st.integers(1, 2), SEEDS)
@settings(max_examples=40, deadline=None)
def test_shards_cover_every_row_once_and_hold_few_classes(rows, num_clients, per_client, seed):
    labels = np.sort(np.random.default_rng(seed).integers(0, 5, rows))[::-1].copy()
    clients = shard_partition(labels, num_clients, shards_per_client=per_client, seed=seed)
    check_cover(clients, rows, num_clients, per_client)
    assert np.ptp(np.asarray(clients.mask).sum(1)) <= per_client
    # A shard of a sorted list meets one class more than end inside it; all shards together end each class once.
    classes = [len(set(labels[np.asarray(i)[np.asarray(m)]])) for i, m in zip(*clients, strict=True)]
    assert sum(classes) <= num_clients * per_client + 4


def test_shards_follow_the_seed_and_split_a_class_at_random():
    labels = np.repeat(np.arange(10), 60)
    one, same, other = (shard_partition(labels, 20, seed=s) for s in (0, 0, 1))
    assert (one.index == same.index).all()
    assert (one.index != other.index).any()
    assert np.ptp(rows_of(one)[:30]) > 30  # 30 rows of a class in the file's order would lie side by side


@given(st.integers(50, 300), st.integers(1, 20), st.sampled_from([0.1, 0.5, 5.0, 1000.0]), st.integers(0, 2), SEEDS)
@settings(max_examples=40, deadline=None)
def test_quantity_covers_every_row_once(rows, num_clients, alpha, min_records, seed):
    clients = quantity_partition(rows, num_clients, alpha=alpha, seed=seed, min_records=min_records)
    check_cover(clients, rows, num_clients, min_records)


def test_quantity_is_as_uneven_as_alpha_says():
    spread = []
    for alpha in (0.5, 5.0, 500.0):
        sizes = np.asarray(quantity_partition(60_000, 100, alpha=alpha, seed=0).mask).sum(1)
        spread.append(sizes.std() / sizes.mean())
    # A Dirichlet share of 100 has a relative deviation of about 1/sqrt(alpha).
    np.testing.assert_allclose(spread, [2**0.5, 0.2**0.5, 0.002**0.5], rtol=0.25)


def test_owners_keep_their_rows_and_small_ones_are_left_out():
    rng = np.random.default_rng(0)
    owners = rng.integers(0, 50, 400) ** 2
    clients, who = natural_partition(owners, min_records=6, max_records=9)
    sizes = {k: int(np.sum(owners == k)) for k in np.unique(owners)}
    assert who.tolist() == [k for k in sorted(sizes) if sizes[k] >= 6]
    assert {sizes[k] < 6 for k in sizes} == {True, False}
    for index, mask, owner in zip(*map(np.asarray, clients), who, strict=True):
        assert (owners[index[mask]] == owner).all()
        assert len(set(index[mask])) == min(sizes[owner], 9) == mask.sum()
    everyone, _ = natural_partition(owners)
    check_cover(everyone, 400, len(sizes), 1)


@given(st.integers(0, 49), st.integers(1, 9))
def test_an_owner_who_leaves_takes_nothing_but_a_client_along(gone, most):
    owners = np.random.default_rng(0).integers(0, 50, 600)
    left = np.flatnonzero(owners != gone)
    whole, _ = natural_partition(owners, max_records=most)
    without, who = natural_partition(owners[left], max_records=most)
    assert gone not in who
    others = np.arange(50) != gone
    held = [set(index[mask].tolist()) for index, mask in zip(*map(np.asarray, whole), strict=True)]
    kept = [set(left[index[mask]].tolist()) for index, mask in zip(*map(np.asarray, without), strict=True)]
    assert kept == [rows for rows, other in zip(held, others, strict=True) if other]


def test_sampled_clients_have_mixes_of_their_own():
    labels = np.repeat([0, 1, 2, 3], [100, 200, 300, 400])
    even = sampled_partition(labels, 2000, records_per_client=20, seed=0)
    assert even.index.shape == (2000, 20)
    assert bool(even.mask.all())
    of = labels[np.asarray(even.index)]
    # 40,000 draws: four deviations of the largest share are 0.01.
    np.testing.assert_allclose(np.bincount(of.ravel()) / of.size, [0.1, 0.2, 0.3, 0.4], atol=0.01)
    assert len(np.unique(np.asarray(even.index))) == 1000
    skewed = labels[np.asarray(sampled_partition(labels, 2000, records_per_client=20, alpha=0.1, seed=0).index)]
    np.testing.assert_allclose(np.bincount(skewed.ravel()) / of.size, [0.1, 0.2, 0.3, 0.4], atol=0.04)
    top = [np.mean(np.max([np.mean(x == k, axis=1) for k in range(4)], axis=0)) for x in (of, skewed)]
    assert top[0] < 0.6 < 0.85 < top[1]


def test_a_hundred_thousand_clients_fit():
    labels = np.arange(60_000) % 10
    clients = sampled_partition(labels, 100_000, records_per_client=60, alpha=0.3, seed=0)
    assert clients.index.nbytes + clients.mask.nbytes < 2**30 // 16


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: shard_partition(np.zeros(5, int), 3, seed=0), "of 2 rows each cannot share 5 rows"),
        (lambda: shard_partition(np.zeros(5, int), 3, shards_per_client=0, seed=0), "shards_per_client=0"),
        (lambda: quantity_partition(5, 6, alpha=1.0, seed=0), "num_clients=6 cannot share 5 rows"),
        (lambda: quantity_partition(5, 2, alpha=0.0, seed=0), "alpha=0.0 must be finite and > 0"),
        (lambda: natural_partition(np.array([1, 1, 2]), min_records=3), "leaves no client; the largest has 2 rows"),
        (lambda: natural_partition(np.array([1]), max_records=0), "max_records=0"),
        (lambda: sampled_partition(np.zeros(5, int), 0, records_per_client=1, seed=0), "num_clients=0"),
        (lambda: sampled_partition(np.zeros(5, int), 1, records_per_client=1, alpha=-1.0, seed=0), "alpha=-1.0"),
        (lambda: sampled_partition(np.zeros(0, int), 1, records_per_client=1, seed=0), "labels hold no row"),
    ],
)
def test_bad_partitions_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("wrong", [-1, True])
def test_seeds_and_numbers_out_of_range_are_named(wrong):
    labels = np.arange(10) % 2
    makes = [
        lambda seed: iid_partition(10, 2, seed=seed),
        lambda seed: dirichlet_partition(labels, 2, alpha=1.0, seed=seed),
        lambda seed: shard_partition(labels, 2, seed=seed),
        lambda seed: quantity_partition(10, 2, alpha=1.0, seed=seed),
        lambda seed: sampled_partition(labels, 2, records_per_client=2, seed=seed),
    ]
    for make in makes:
        with pytest.raises(ValueError, match=r"^seed=.* must be .*the same one gives the same partition"):
            make(wrong)
    with pytest.raises(ValueError, match=r"^num_clients=.* must be "):
        iid_partition(10, wrong, seed=0)


@pytest.mark.parametrize(
    "labels", [np.array([0.0, np.nan, 1.0, 1.0]), np.array([0.0, 1.0]), np.zeros((2, 2), int), [0, 1]]
)
def test_labels_that_could_lose_a_row_are_refused(labels):
    """NaN is equal to no class: its row belonged to nobody."""
    for make in (
        lambda: dirichlet_partition(labels, 2, alpha=1.0, seed=0, min_records=0),
        lambda: shard_partition(labels, 2, shards_per_client=1, seed=0),
        lambda: sampled_partition(labels, 2, records_per_client=1, seed=0),
        lambda: natural_partition(labels),
    ):
        with pytest.raises(TypeError):
            make()


# ---- many clients ---------------------------------------------------------------------------------------------------


def instructions_of(call: Callable[[], object]) -> int:
    """Instructions of Python that a call runs; what NumPy does in C is none."""
    events, tool, number = sys.monitoring.events, 4, 0

    def count(code: CodeType, offset: int) -> None:
        nonlocal number
        number += 1

    call()  # what is done once is done
    sys.monitoring.use_tool_id(tool, "instructions")
    sys.monitoring.register_callback(tool, events.INSTRUCTION, count)
    try:
        sys.monitoring.set_events(tool, events.INSTRUCTION)
        call()
    finally:
        sys.monitoring.set_events(tool, 0)
        sys.monitoring.register_callback(tool, events.INSTRUCTION, None)
        sys.monitoring.free_tool_id(tool)
    return number


def makes_of(num_clients: int) -> dict[str, Callable[[], object]]:
    """Every partition, of two rows a client."""
    rng, rows = np.random.default_rng(0), 2 * num_clients
    labels, owners = rng.integers(0, 3, rows), rng.integers(0, num_clients, rows)
    return {
        "iid": lambda: iid_partition(rows, num_clients, seed=0),
        "dirichlet": lambda: dirichlet_partition(labels, num_clients, alpha=0.5, seed=0),
        "shards": lambda: shard_partition(labels, num_clients, seed=0),
        "quantity": lambda: quantity_partition(rows, num_clients, alpha=0.5, seed=0),
        "sampled": lambda: sampled_partition(labels, num_clients, records_per_client=2, seed=0),
        "natural": lambda: natural_partition(owners),
        "natural, bounded": lambda: natural_partition(owners, max_records=1),
    }


@pytest.mark.parametrize("name", list(makes_of(1)))
def test_no_partition_takes_a_turn_for_each_client(name):
    """A turn for each of a million clients took a minute and a half; sorts and sums take a second."""
    few, many = (instructions_of(makes_of(num_clients)[name]) for num_clients in (100, 10_000))
    assert many < few + 9_900, (few, many)  # one instruction a client is too many


@given(st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(0, 3), SEEDS)
@settings(max_examples=40, deadline=None)
def test_clients_are_shuffled_as_numpy_shuffles_one_after_the_other(sizes, long, seed):
    sizes = np.array([*sizes, *[250 + 7 * k for k in range(long)], 3])
    rows = np.arange(sizes.sum()) + 5
    one, all_at_once = np.random.default_rng(seed), np.random.default_rng(seed)
    expected = [one.permutation(each) for each in np.split(rows, np.cumsum(sizes)[:-1])]
    np.testing.assert_array_equal(shuffle_each(all_at_once, rows, sizes), np.concatenate(expected))
    assert one.random() == all_at_once.random()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.integers(0, 4))
@settings(max_examples=80, deadline=None)
def test_clients_short_of_rows_get_the_last_of_whoever_has_most(sizes, least):
    sizes = np.array(sizes)
    least = min(least, int(sizes.sum()) // len(sizes))
    rows = np.arange(sizes.sum())
    clients = [list(each) for each in np.split(rows, np.cumsum(sizes)[:-1])]
    for client in clients:
        while len(client) < least:
            client.append(max(clients, key=len).pop())
    held, lengths = top_up(rows, sizes, least)
    assert [list(each) for each in np.split(held, np.cumsum(lengths)[:-1])] == clients


def test_blocks_of_sampled_clients_change_nothing(monkeypatch):
    labels = np.arange(90) % 7
    at_once = sampled_partition(labels, 50, records_per_client=3, alpha=0.3, seed=2)
    monkeypatch.setattr(partitions, "_AT_ONCE", 100)
    in_blocks = sampled_partition(labels, 50, records_per_client=3, alpha=0.3, seed=2)
    np.testing.assert_array_equal(at_once.index, in_blocks.index)


def test_a_client_as_long_as_no_memory_is_refused_before_all_are_padded_to_it():
    sizes = np.full(10**6, 1)
    sizes[0] = 10**9
    with pytest.raises(ValueError, match=r"1,000,000,000 rows, and lists as long for all take .* GiB.*max_records"):
        padded(np.zeros(1, np.int64), sizes)
