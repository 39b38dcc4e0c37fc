"""One side: loads and writes as it is asked to, and says how long it took. Imports its own tree only."""

import json
import sys
import time
from typing import Any


def load(path: str) -> dict[str, Any]:
    """Seconds of loading a GGUF once more, with all that is imported on the way there already."""
    from dpjax.models.pretrained.gguf_files import read_gguf

    began = time.perf_counter(), time.process_time()
    _, tensors, _, _ = read_gguf(path_of(path))
    return {
        "seconds": time.perf_counter() - began[0],
        "processor_seconds": time.process_time() - began[1],
        "sum": float(sum(abs(array).sum(dtype="float64") for array in tensors.values())),
    }


def path_of(path: str) -> Any:
    """As the reader takes it."""
    from pathlib import Path

    return Path(path)


class Writer:
    """A model that goes on with one text by its likeliest tokens.

    Args:
      name: of the checkpoint.
      prompt: tokens before it, all of which are there.
      number: tokens to write.
    """

    def __init__(self, name: str, prompt: int, number: int):
        import jax
        import jax.numpy as jnp
        import numpy as np

        from dpjax.models import pretrained
        from dpjax.models.generation import Sampling, make_generate
        from dpjax.models.transformers import Head
        from dpjax.models.tuning import fine_tune

        try:
            from dpjax.models.tuning_methods import Method
        except ImportError:  # where an older revision has it
            from dpjax.models.tuning import Method

        body = pretrained.load(name)
        tuned = fine_tune(body.arch, body.params, Head("causal"), Method("full"), scan_layers=True)
        self.params = jax.tree.map(jnp.asarray, tuned.start)
        self.sampling, self.key = Sampling(), jax.random.key(0)
        self.prompt = jnp.asarray([np.random.default_rng(0).integers(50, 40_000, prompt)], jnp.int32)
        self.number = number
        self.generate = make_generate(body.arch, plan=tuned.plan, num_tokens=number)
        model, length = tuned.applying(tuned.frozen), prompt + number

        @jax.jit
        def likeliest(params: Any, row: Any, at: Any) -> Any:
            return jnp.argmax(jnp.take(model.apply(params, row, None), at, axis=0))

        self.likeliest, self.length = likeliest, length
        self.write()  # compiled

    def write(self) -> dict[str, Any]:
        """Seconds of all tokens, and which they are."""
        began = time.perf_counter()
        tokens = self.generate(self.params, self.prompt, self.sampling, self.key)[0].tolist()
        return {"seconds": time.perf_counter() - began, "tokens": tokens}

    def anew(self, tokens: list[int]) -> dict[str, Any]:
        """Seconds of each token, computed from the whole text, of the last few; and which they are."""
        import numpy as np

        row = np.full(self.length, -1, np.int32)
        text = [*self.prompt[0].tolist(), *tokens]
        found, times = [], []
        for at in range(len(text) - 5, len(text)):
            row[:at] = text[:at]
            began = time.perf_counter()
            found.append(int(self.likeliest(self.params, row, at - 1)))
            times.append(time.perf_counter() - began)
        return {"seconds": sorted(times[1:])[1], "tokens": found}


def bandwidth(gigabytes: float = 0.5) -> dict[str, float]:
    """Seconds of reading so many bytes of weights once, in a product with a vector."""
    import jax
    import jax.numpy as jnp

    columns = 1024
    weights = jnp.ones((int(gigabytes * 1e9) // 4 // columns, columns))
    product = jax.jit(lambda weights, x: weights @ x)
    product(weights, weights[0]).block_until_ready()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        product(weights, weights[0]).block_until_ready()
        times.append(time.perf_counter() - began)
    return {"seconds": sorted(times)[2], "bytes": weights.nbytes}


def serve() -> None:
    """Answer each line of JSON with one."""
    writer = None
    for line in sys.stdin:
        match json.loads(line):
            case {"load": path}:
                answer: Any = load(path)
            case {"checkpoint": name, "prompt": prompt, "number": number}:
                writer, answer = Writer(name, prompt, number), {}
            case {"anew": tokens}:
                assert writer is not None
                answer = writer.anew(tokens)
            case {"bandwidth": gigabytes}:
                answer = bandwidth(gigabytes)
            case _:
                assert writer is not None
                answer = writer.write()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
