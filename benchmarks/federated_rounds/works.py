"""What is trained: a model, the clients' rows, and one round's numbers. The same for dpjax and for pfl-research."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.datasets import load_digits

from dpjax.models import cnn, mlp
from dpjax.models.model import Model, count_params
from dpjax.types import HParams, Params

CLIENTS, ROWS_EACH, COHORT, LOCAL_STEPS, BATCH = 1_000, 50, 100, 5, 10
HPARAMS = HParams(learning_rate=1.0, clip_norm=1.0, noise_multiplier=1.0, client_learning_rate=0.3)


class Work(NamedTuple):
    """One thing to train by federated averaging.

    Attributes:
      name: of the model, also to the pfl side.
      model: on one example.
      start: parameters before the first round.
      inputs: ``[rows, ...]`` the data set.
      labels: ``[rows]``.
      owned: ``[clients, records]`` each client's rows; clients may share some.
      cohort: clients in a round; expected ones where it is smaller than the population.
      local_steps: SGD steps of a client.
      batch: records in one of them.
      hparams: the clip norm, the noise and both learning rates.
    """

    name: str
    model: Model
    start: Params
    inputs: Float[np.ndarray, "rows ..."]
    labels: Int[np.ndarray, "rows"]
    owned: Int[np.ndarray, "clients records"]
    cohort: int = COHORT
    local_steps: int = LOCAL_STEPS
    batch: int = BATCH
    hparams: HParams = HPARAMS

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return count_params(self.start)

    @property
    def epochs(self) -> int:
        """Passes through a client's records in one round."""
        return self.local_steps * self.batch // self.owned.shape[1]


def digits(rows: int, seed: int = 0) -> tuple[Float[np.ndarray, "rows 64"], Int[np.ndarray, "rows"]]:
    """Handwritten digits of 8×8 pixels in [0, 1]: scikit-learn's, drawn at random with a little noise on each."""
    images, labels = (np.asarray(x) for x in load_digits(return_X_y=True))
    rng = np.random.default_rng(seed)
    row = rng.integers(0, len(labels), rows)
    noise = rng.normal(0, 0.05, (rows, images.shape[1]))
    return (images[row] / 16 + noise).astype(np.float32), labels[row].astype(np.int32)


def _work(name: str, model: Model, inputs: np.ndarray, labels: np.ndarray, clients: int, rows_each: int) -> Work:
    rng = np.random.default_rng(1)
    shared = clients * rows_each > len(labels)
    rows = rng.integers(0, len(labels), clients * rows_each) if shared else rng.permutation(len(labels))
    owned = rows[: clients * rows_each].reshape(clients, rows_each).astype(np.int32)
    return Work(name, model, jax.jit(model.init)(jax.random.key(0)), inputs, labels, owned)


def mlp_work(clients: int = CLIENTS, rows_each: int = ROWS_EACH, rows: int = CLIENTS * ROWS_EACH) -> Work:
    """An MLP 64-128-10 with tanh."""
    return _work("mlp", mlp(10, (64,), hidden=(128,)), *digits(rows), clients, rows_each)


def cnn_work() -> Work:
    """dpjax's CNN for images of 28×28 pixels; the digits are enlarged to 24×24 and framed."""
    inputs, labels = digits(CLIENTS * ROWS_EACH)
    images = inputs.reshape(-1, 8, 8).repeat(3, 1).repeat(3, 2)
    images = np.pad(images, ((0, 0), (2, 2), (2, 2)))[..., None]
    return _work("cnn", cnn(10, (28, 28, 1)), images, labels, CLIENTS, ROWS_EACH)


WORKS: dict[str, Callable[[], Work]] = {"mlp": mlp_work, "cnn": cnn_work}
"""Name → work, built only when it is its turn."""


def torch_parameters(work: Work, params: Params) -> list[np.ndarray]:
    """Parameters in torch's order (layers from the input on, weight before bias) and layout."""
    layers = {"mlp": [("hidden", "0"), ("head",)], "cnn": [("convs", "0"), ("convs", "1"), ("hidden",), ("head",)]}
    out, channels = [], 0
    for path in layers[work.name]:
        layer = params
        for key in path:
            layer = layer[key]
        kernel = np.asarray(layer["kernel"])
        if kernel.ndim == 4:  # [height, width, in, out] → [out, in, height, width]
            channels, kernel = kernel.shape[-1], kernel.transpose(3, 2, 0, 1)
        elif channels:  # what was flattened as [height, width, channels] torch has as [channels, height, width]
            kernel = kernel.reshape(-1, channels, kernel.shape[-1]).swapaxes(0, 1).reshape(kernel.shape).T
            channels = 0
        else:
            kernel = kernel.T
        out += [np.ascontiguousarray(kernel), np.asarray(layer["bias"])]
    return out


def save(work: Work, path: Path) -> None:
    """Everything that the pfl side needs, as an .npz file."""
    arrays: dict[str, Any] = {"inputs": work.inputs, "labels": work.labels, "index": work.owned}
    arrays |= {f"parameter{i}": array for i, array in enumerate(torch_parameters(work, work.start))}
    np.savez(path, **arrays)
