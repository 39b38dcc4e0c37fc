"""Every work by its name, built only when it is its turn."""

import functools
from collections.abc import Callable

from benchmarks.step_time.minilm import minilm
from benchmarks.step_time.works import Work, cnn, logistic, mlp, transformer, transformer_lora

WORKS: dict[str, Callable[[], Work]] = {
    "logistic": logistic,
    "mlp": mlp,
    "cnn": cnn,
    "transformer": transformer,
    "transformer_lora": transformer_lora,
    "minilm_full": functools.partial(minilm, "full"),
    "minilm_lora": functools.partial(minilm, "lora"),
}
