"""CKKS on the host: what a server could do with what it has, and sums over every layout, size and cohort."""

import weakref

import numpy as np
import pytest

from dpjax.federated.aggregation.ckks import ADDING, WEIGHING, Server, homomorphic_sum, make_keys, process_keys

ts = pytest.importorskip("tenseal")

RNG = np.random.default_rng(0)
PRECISION = 1e-6  # ten times what 100 clients with numbers up to 1 were measured to lose


def plain_sum(vectors, present, weights=None):
    return (present if weights is None else present * weights) @ vectors


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1, 2047, 2048, 2049, 4096, 4097, 10_000])
def test_sums_across_the_borders_of_ciphertexts(size, weighted):
    vectors, present = RNG.uniform(-1, 1, (3, size)), np.array([True, False, True])
    weights = np.array([0.2, 0.3, 0.5]) if weighted else None
    done = homomorphic_sum(vectors, present, weights)
    assert done.total.shape == (size,)
    np.testing.assert_allclose(done.total, plain_sum(vectors, present, weights), rtol=0, atol=PRECISION)


@pytest.mark.parametrize("weighted", [False, True])
def test_the_precision_holds_for_a_hundred_clients(weighted):
    vectors, present = RNG.uniform(-1, 1, (100, 300)), np.ones(100, bool)
    weights = RNG.dirichlet(np.ones(100)) if weighted else None
    done = homomorphic_sum(vectors, present, weights)
    assert np.abs(done.total - plain_sum(vectors, present, weights)).max() < PRECISION


def test_a_weight_of_zero_is_a_weight():
    """SEAL refuses the product of a ciphertext with zero, whose result anybody can read."""
    vectors, present = RNG.uniform(-1, 1, (3, 20)), np.ones(3, bool)
    for weights in (np.zeros(3), np.array([0.0, 1.0, 0.0]), np.array([1e-9, 0.0, 1.0])):
        done = homomorphic_sum(vectors, present, weights)
        np.testing.assert_allclose(done.total, weights @ vectors, rtol=0, atol=PRECISION)


@pytest.mark.parametrize("weights", [None, np.full(4, 0.25)])
def test_an_empty_cohort_sums_to_zero_and_reads_nothing(weights):
    done = homomorphic_sum(np.full((4, 9), np.nan), np.zeros(4, bool), weights)
    assert (done.total == np.zeros(9)).all()
    assert done.bytes_per_client == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_refused_from_who_sends_only(bad):
    vectors = RNG.uniform(-1, 1, (3, 20))
    vectors[1, 7] = bad
    with pytest.raises(ValueError, match="not finite"):
        homomorphic_sum(vectors, np.ones(3, bool))
    assert np.isfinite(homomorphic_sum(vectors, np.array([True, False, True])).total).all()


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan, np.inf])
def test_a_weight_out_of_range_is_refused_from_who_sends_only(bad):
    vectors, weights = RNG.uniform(-1, 1, (2, 20)), np.array([0.5, bad])
    with pytest.raises(ValueError, match=r"must be in \[0, 1\]"):
        homomorphic_sum(vectors, np.ones(2, bool), weights)
    done = homomorphic_sum(vectors, np.array([True, False]), weights)
    np.testing.assert_allclose(done.total, 0.5 * vectors[0], rtol=0, atol=PRECISION)


@pytest.mark.parametrize("parameters", [ADDING, WEIGHING])
def test_no_message_can_be_opened_by_the_server_or_by_another_key(parameters):
    keys = make_keys(parameters)
    message = ts.ckks_vector(keys.public, [0.5, -0.25]).serialize()
    at_the_server = ts.ckks_vector_from(keys.public, message)
    with pytest.raises(ValueError, match="secret_key"):
        at_the_server.decrypt()
    with pytest.raises(ValueError, match="secret_key"):
        (at_the_server + at_the_server).decrypt()
    # Neither does a copy of all that the server has.
    copied = ts.context_from(keys.public.serialize(save_secret_key=True))
    assert not copied.has_secret_key()
    # Nor a key pair of the server's own making.
    own = ts.context(ts.SCHEME_TYPE.CKKS, parameters.degree, coeff_mod_bit_sizes=list(parameters.coefficient_bits))
    opened = np.array(at_the_server.decrypt(own.secret_key()))
    assert np.abs(opened - [0.5, -0.25]).min() > 1
    np.testing.assert_allclose(at_the_server.decrypt(keys.private.secret_key()), [0.5, -0.25], atol=PRECISION)


@pytest.mark.parametrize(("parameters", "weights"), [(ADDING, None), (WEIGHING, np.ones(1))])
def test_bytes_are_those_of_what_is_sent(parameters, weights):
    vector, slots = RNG.uniform(-1, 1, 5000), parameters.degree // 2
    public = make_keys(parameters).public
    chunks = [vector[k : k + slots] for k in range(0, len(vector), slots)]
    sent = sum(len(ts.ckks_vector(public, chunk).serialize()) for chunk in chunks)
    counted = homomorphic_sum(vector[None], np.ones(1, bool), weights).bytes_per_client
    assert counted == pytest.approx(sent, rel=0.01)
    # Two polynomials of all moduli but the keys'; SEAL's compression reaches that and no less.
    entropy = 2 * parameters.degree * sum(parameters.coefficient_bits[:-1]) / 8 * len(chunks)
    assert 0.98 * entropy < counted < 1.3 * entropy


def test_one_clients_ciphertexts_are_held_at_a_time(monkeypatch):
    """Ciphertexts lie outside of Python's memory, so those alive are counted."""
    make, alive, most = ts.ckks_vector, weakref.WeakSet(), [0]

    def counted(*arguments):
        cipher = make(*arguments)
        alive.add(cipher)
        most[0] = max(most[0], len(alive))
        return cipher

    monkeypatch.setattr(ts, "ckks_vector", counted)
    peaks = []
    for clients in (3, 12):
        most[0] = 0
        homomorphic_sum(RNG.uniform(-1, 1, (clients, 5000)), np.ones(clients, bool))
        peaks.append(most[0])
    assert 0 < peaks[1] <= peaks[0]


@pytest.mark.parametrize(("parameters", "weights"), [(ADDING, None), (WEIGHING, np.ones(3))])
def test_a_sum_that_would_wrap_around_is_refused(parameters, weights):
    vectors, present = np.full((3, 5), parameters.room / 3), np.ones(3, bool)
    # Rescaling by a prime that is near, but not equal, to the scale costs weighted sums some 1e-7 of themselves.
    np.testing.assert_allclose(homomorphic_sum(vectors, present, weights).total, parameters.room, rtol=1e-6)
    with pytest.raises(ValueError, match="without wrapping around; divide them by the clip norm"):
        homomorphic_sum(vectors * 1.01, present, weights)


def test_the_server_adds_and_cannot_read():
    keys = make_keys(ADDING)
    server = Server(keys.public_bytes)
    for x in (0.5, 0.25):
        server.add([ts.ckks_vector(keys.public, [x]).serialize()])
    assert not server.context.has_secret_key()
    with pytest.raises(ValueError, match="secret_key"):
        ts.ckks_vector_from(server.context, server.total()[0]).decrypt()
    np.testing.assert_allclose(ts.ckks_vector_from(keys.private, server.total()[0]).decrypt(), [0.75], atol=1e-6)


def test_own_keys_and_the_reported_error():
    vectors = RNG.uniform(-1, 1, (4, 3000))
    done = homomorphic_sum(vectors, np.ones(4, bool), keys=make_keys(ADDING))
    assert done.max_abs_error == pytest.approx(np.abs(done.total - vectors.sum(0)).max(), rel=1e-3)
    assert 0 < done.max_abs_error < 1e-6
    assert process_keys(ADDING) is process_keys(ADDING)
    assert make_keys(ADDING).public_bytes != make_keys(ADDING).public_bytes


def test_weights_need_parameters_with_a_product():
    with pytest.raises(ValueError, match="allow no product; use WEIGHING"):
        homomorphic_sum(np.ones((2, 3)), np.ones(2, bool), np.ones(2), parameters=ADDING)
