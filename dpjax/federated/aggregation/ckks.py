"""The host's half of homomorphic aggregation: CKKS by TenSEAL, with one key pair for all clients."""

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class CKKS:
    """Parameters of the scheme; TenSEAL refuses any below 128 bits of security.

    Attributes:
      degree: of the polynomials; half as many numbers are packed into one ciphertext.
      coefficient_bits: sizes of the moduli; the last one serves the keys only, and each between uses up one product.
      scale_bits: numbers are multiplied by 2 to this power before they are rounded.
    """

    degree: int
    coefficient_bits: tuple[int, ...]
    scale_bits: int

    @property
    def slots(self) -> int:
        """Numbers in one ciphertext."""
        return self.degree // 2

    @property
    def room(self) -> float:
        """Magnitude up to which a sum is decrypted as it is; past twice this it wraps around, and nothing tells."""
        return 2.0 ** (self.coefficient_bits[0] - self.scale_bits - 2)

    @property
    def products(self) -> int:
        """Multiplications that a ciphertext survives."""
        return len(self.coefficient_bits) - 2


ADDING = CKKS(4096, (54, 54), 40)
"""For plain sums: the smallest polynomials that have room for the scale. 30 bytes a number."""

WEIGHING = CKKS(8192, (60, 40, 60), 40)
"""For sums in which the server multiplies each client's numbers by its weight first. 57 bytes a number."""


class Keys(NamedTuple):
    """A key pair, and what is handed out of it.

    Attributes:
      private: the key holder's context, with the secret key.
      public: what clients and the server have, read back from ``public_bytes``.
      public_bytes: the public key and the parameters; no secret key in it.
    """

    private: Any
    public: Any
    public_bytes: bytes


class HomomorphicSum(NamedTuple):
    """A sum that was added up under encryption, and its price.

    Attributes:
      total: ``[size]``.
      encrypt_seconds: of all clients together, writing the messages out included; each does its own share.
      add_seconds: of the server, reading the messages and products with weights included.
      decrypt_seconds: of the key holder.
      bytes_per_client: the longest message that a client sent; they differ by some bytes. 0 if nobody sent one.
      max_abs_error: of any coordinate, against the same sum in float64. Private, as ``total`` is.
    """

    total: Float[np.ndarray, "size"]
    encrypt_seconds: float
    add_seconds: float
    decrypt_seconds: float
    bytes_per_client: int
    max_abs_error: float


class Server:
    """Adds encrypted messages up. It is made of public bytes, so that it has nothing to decrypt with.

    Args:
      public_bytes: of ``Keys``.
    """

    def __init__(self, public_bytes: bytes):
        self._ts = _tenseal()
        self.context = self._ts.context_from(public_bytes)
        self._total: list[Any] = []

    def add(self, message: list[bytes], weight: float | None = None) -> None:
        """Take one client's message in, multiplied by its weight, and keep the sum only."""
        parts = [self._ts.ckks_vector_from(self.context, part) for part in message]
        if weight is not None:
            parts = [part * weight for part in parts]
        self._total = [a + b for a, b in zip(self._total, parts, strict=True)] if self._total else parts

    def total(self) -> list[bytes]:
        """The encrypted sum, for the key holder."""
        return [part.serialize() for part in self._total]


def make_keys(parameters: CKKS) -> Keys:
    """A new key pair.

    Raises:
      ImportError: TenSEAL is not there.
      ValueError: parameters below 128 bits of security, or that TenSEAL does not know.
    """
    ts = _tenseal()
    private = ts.context(ts.SCHEME_TYPE.CKKS, parameters.degree, coeff_mod_bit_sizes=list(parameters.coefficient_bits))
    private.global_scale = 2.0**parameters.scale_bits
    # Sums and products with plain numbers need neither Galois nor relinearization keys.
    public = private.serialize(save_secret_key=False, save_galois_keys=False, save_relin_keys=False)
    return Keys(private, ts.context_from(public), public)


process_keys = lru_cache(maxsize=4)(make_keys)
"""``make_keys``, once in a process for each set of parameters."""


def homomorphic_sum(
    vectors: Float[np.ndarray, "clients size"],
    present: Bool[np.ndarray, "clients"],
    weights: Float[np.ndarray, "clients"] | None = None,
    *,
    parameters: CKKS | None = None,
    keys: Keys | None = None,
) -> HomomorphicSum:
    """Σ weight × vector over the clients that are present, without the server seeing any of them.

    Every client encrypts its vector, packed, with the public key, and sends bytes. The server, which has no other key,
    multiplies them by the client's weight if there are weights, and adds them to its sum. The key holder decrypts the
    sum. One client's ciphertexts are held at a time.

    Trust: there is ONE secret key. Whoever holds it can read every message that it gets hold of, so the key holder
    and the server must not work together, and clients trust the key holder to decrypt sums only. The error of CKKS is
    no noise of differential privacy: the sum's sensitivity is that of the vectors, and what is published needs noise.

    Args:
      vectors: float; what a sum may come to is checked. Its error grows with clients, coordinates and weights, and is
        not bounded beforehand: ``max_abs_error`` is what it was. Measured, for magnitudes up to 1: 7e-7 for 16 clients
        of 5,000 coordinates with weights, 2e-6 for 240 of 100.
      present: who sends; nothing of the others is read.
      weights: in [0, 1]; None: all 1, in half the bytes and two thirds of the time.
      parameters: ``ADDING`` without weights and ``WEIGHING`` with them if None.
      keys: of ``make_keys`` with the same parameters; those of the process if None.

    Raises:
      ImportError: TenSEAL is not there.
      ValueError: a number that is not finite, a weight out of range, a sum past the scheme's room, or weights for
        parameters that allow no product.

    Example:
      >>> vectors = np.array([[0.25, 1.0], [0.5, -2.0], [9.0, 9.0]])
      >>> done = homomorphic_sum(vectors, np.array([True, True, False]))
      >>> print(done.total.round(6), done.max_abs_error < 1e-6)
      [ 0.75 -1.  ] True

    References:
      Cheon et al., Homomorphic Encryption for Arithmetic of Approximate Numbers, 2017
      (https://eprint.iacr.org/2016/421); Li and Micciancio, 2021 (https://eprint.iacr.org/2020/1533), on what an
      approximate decryption tells of the key; TenSEAL (https://arxiv.org/abs/2104.03152).
    """
    ts, size = _tenseal(), vectors.shape[1]
    parameters = parameters or (ADDING if weights is None else WEIGHING)
    senders = np.flatnonzero(present)
    _check(vectors, senders, weights, parameters)
    if not (len(senders) and size):
        return HomomorphicSum(np.zeros(size), 0.0, 0.0, 0.0, 0, 0.0)
    keys, slots = keys or process_keys(parameters), parameters.slots
    server, plain = Server(keys.public_bytes), np.zeros(size)
    encrypting = adding = 0.0
    longest = 0
    for client in senders:
        vector, weight = vectors[client].astype(np.float64), None if weights is None else float(weights[client])
        began = time.perf_counter()
        message = [ts.ckks_vector(keys.public, vector[k : k + slots]).serialize() for k in range(0, size, slots)]
        sent = time.perf_counter()
        server.add(message, weight)
        adding += time.perf_counter() - sent
        encrypting += sent - began
        longest = max(longest, sum(map(len, message)))
        plain += vector if weight is None else weight * vector
    began = time.perf_counter()
    opened = np.concatenate([ts.ckks_vector_from(keys.private, part).decrypt() for part in server.total()])
    decrypting = time.perf_counter() - began
    return HomomorphicSum(opened, encrypting, adding, decrypting, longest, float(np.abs(opened - plain).max()))


def _check(
    vectors: Float[np.ndarray, "clients size"],
    senders: np.ndarray,
    weights: Float[np.ndarray, "clients"] | None,
    parameters: CKKS,
) -> None:
    """Refuse what would be summed wrongly; what the absent hold is not read."""
    factors = np.ones(len(senders)) if weights is None else weights[senders]
    if not ((factors >= 0) & (factors <= 1)).all():
        raise ValueError(f"weights hold {factors.min()} to {factors.max()}; each must be in [0, 1].")
    if weights is not None and parameters.products < 1:
        raise ValueError(f"parameters={parameters} allow no product; use WEIGHING, or leave the weights out.")
    largest = np.array([np.abs(vectors[client]).max(initial=0.0) for client in senders], np.float64)
    if not np.isfinite(largest).all():
        raise ValueError("vectors hold a number that is not finite; clip them first, which makes such a client's zero.")
    reach = max(float(largest @ factors), float(largest.max(initial=0.0)))
    if reach > parameters.room:
        raise ValueError(
            f"vectors may add up to {reach:.6g}, past the {parameters.room:.6g} that {parameters} holds without "
            "wrapping around; divide them by the clip norm, or sum fewer clients."
        )


def _tenseal() -> Any:
    try:
        import tenseal
    except ImportError as error:
        raise ImportError(
            "federated.aggregation=homomorphic needs TenSEAL, which is not installed; run `pip install 'dpjax[he]'`."
        ) from error
    return tenseal
