"""The host's half of homomorphic aggregation: CKKS by TenSEAL, with one key pair for all clients."""

import time
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float


class CKKS(NamedTuple):
    """Parameters of the scheme, at 128 bits of security.

    Attributes:
      degree: of the polynomials; half as many numbers are packed into one ciphertext.
      coefficient_bits: sizes of the moduli; the last one serves the keys only, and each between uses up one product.
      scale_bits: numbers are multiplied by 2 to this power before they are rounded.
    """

    degree: int
    coefficient_bits: tuple[int, ...]
    scale_bits: int


ADDING = CKKS(4096, (54, 54), 40)
"""For plain sums: the smallest ciphertexts that have room for the scale."""

WEIGHING = CKKS(8192, (60, 40, 60), 40)
"""For sums in which the server multiplies each client's numbers by its weight first."""


class Keys(NamedTuple):
    """A key pair, made once in a process.

    Attributes:
      private: the key holder's context, with the secret key.
      public: the same without it: what clients and the server have.
    """

    private: Any
    public: Any


class HomomorphicSum(NamedTuple):
    """A sum that was added up under encryption, and its price.

    Attributes:
      total: ``[size]``.
      encrypt_seconds: of all clients together; each does its own share.
      add_seconds: of the server, products with weights included.
      decrypt_seconds: of the key holder.
      bytes_per_client: ciphertexts that a client sends.
    """

    total: Float[np.ndarray, "size"]
    encrypt_seconds: float
    add_seconds: float
    decrypt_seconds: float
    bytes_per_client: int


@lru_cache(maxsize=4)
def make_keys(parameters: CKKS) -> Keys:
    """The key pair of this process for some parameters.

    Raises:
      ImportError: TenSEAL is not there.
    """
    ts = _tenseal()
    private = ts.context(ts.SCHEME_TYPE.CKKS, parameters.degree, coeff_mod_bit_sizes=list(parameters.coefficient_bits))
    private.global_scale = 2.0**parameters.scale_bits
    public = ts.context_from(private.serialize(save_secret_key=False))
    return Keys(private, public)


def homomorphic_sum(
    vectors: Float[np.ndarray, "clients size"],
    present: Bool[np.ndarray, "clients"],
    weights: Float[np.ndarray, "clients"] | None = None,
) -> HomomorphicSum:
    """Σ weight × vector over the clients that are present, without the server seeing any of them.

    Every client encrypts its vector, packed, with the public key; the server, which has no other, adds the ciphertexts
    up and multiplies each by its weight first if there are weights; the key holder decrypts the sum. One client's
    ciphertexts are held at a time.

    Trust: there is ONE secret key. Whoever holds it can read every message that it gets hold of, so the key holder
    and the server must not work together, and clients trust the key holder to decrypt sums only.

    Args:
      vectors: numbers of magnitude up to about 1; a sum's error is about 1e-7.
      present: who sends; nothing of the others is read.
      weights: in [0, 1]; None: all 1, at a quarter of the price.

    Raises:
      ImportError: TenSEAL is not there.
      ValueError: a number that is not finite, or a weight out of range.

    References:
      Cheon et al., Homomorphic Encryption for Arithmetic of Approximate Numbers, 2017
      (https://eprint.iacr.org/2016/421); TenSEAL (https://arxiv.org/abs/2104.03152).
    """
    sent = vectors[present]
    if not np.isfinite(sent).all():
        raise ValueError("vectors hold a number that is not finite; clip them first, which makes such a client's zero.")
    if weights is not None and not ((weights[present] >= 0) & (weights[present] <= 1)).all():
        raise ValueError(f"weights hold {weights[present].min()} to {weights[present].max()}; each must be in [0, 1].")
    parameters = ADDING if weights is None else WEIGHING
    keys, size = make_keys(parameters), vectors.shape[1]
    if not present.any():
        return HomomorphicSum(np.zeros(size), 0.0, 0.0, 0.0, 0)
    ts, slots = _tenseal(), parameters.degree // 2
    encrypting = adding = 0.0
    total: list[Any] = []
    for number, vector in zip(np.flatnonzero(present), sent, strict=True):
        began = time.perf_counter()
        message = [ts.ckks_vector(keys.public, vector[k : k + slots]) for k in range(0, size, slots)]
        encrypted = time.perf_counter()
        if weights is not None:
            message = [cipher * float(weights[number]) for cipher in message]
        total = [a + b for a, b in zip(total, message, strict=True)] if total else message
        encrypting += encrypted - began
        adding += time.perf_counter() - encrypted
    # Fresh ciphertexts of one shape have all one size, to a few bytes.
    sample = [ts.ckks_vector(keys.public, sent[0][k : k + slots]) for k in range(0, size, slots)]
    sent_bytes = sum(len(cipher.serialize()) for cipher in sample)
    began = time.perf_counter()
    secret = keys.private.secret_key()
    opened = np.concatenate([np.asarray(cipher.decrypt(secret)) for cipher in total])
    return HomomorphicSum(opened, encrypting, adding, time.perf_counter() - began, sent_bytes)


def _tenseal() -> Any:
    try:
        import tenseal
    except ImportError as error:
        raise ImportError(
            "federated.aggregation=homomorphic needs TenSEAL, which is not installed; run `pip install 'dpjax[he]'`."
        ) from error
    return tenseal
