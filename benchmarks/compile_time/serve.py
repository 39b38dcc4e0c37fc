"""One side: compiles what it is asked for from scratch, and says what each stage took. Imports its own tree only."""

import json
import sys
import time
from typing import Any


def stages(contestant: str, work: Any, microbatch: int | None) -> dict[str, float]:
    """Seconds and CPU seconds of tracing, lowering and XLA, and how large the program is before and after XLA."""
    import jax
    import jax.numpy as jnp

    from benchmarks.step_time.contestants import CONTESTANTS, Variant

    jax.clear_caches()
    step = CONTESTANTS[contestant].step(work, Variant("plain", microbatch))
    scalar = jnp.float32(1)
    arguments = work.params, work.frozen, work.units, jax.random.key(11), scalar, scalar
    clocks = [(time.perf_counter(), time.process_time())]

    def tick(result: Any) -> Any:
        clocks.append((time.perf_counter(), time.process_time()))
        return result

    traced = tick(jax.jit(step).trace(*arguments))
    lowered = tick(traced.lower())
    compiled = tick(lowered.compile())
    found: dict[str, float] = {}
    for stage, before, after in zip(("trace", "lower", "xla"), clocks, clocks[1:], strict=False):
        found |= {stage: after[0] - before[0], f"{stage}_cpu": after[1] - before[1]}
    text = compiled.as_text() or ""
    analysis = compiled.memory_analysis()
    return found | {
        "total": clocks[-1][0] - clocks[0][0],
        "total_cpu": clocks[-1][1] - clocks[0][1],
        "operations": sum(" = " in line for line in lowered.as_text().splitlines()),
        "instructions": sum(" = " in line for line in text.splitlines()),
        "temp_bytes": analysis.temp_size_in_bytes if analysis is not None else 0,
    }


def own_microbatch(work: Any) -> int:
    """The largest divisor of the batch that is at most what dpjax chooses: the other contestants' microbatch."""
    import jax
    import jax.numpy as jnp

    from dpjax import Cohort, example_gradient
    from dpjax.clipping import explain

    cohort = Cohort(work.units, jnp.ones(work.batch, bool))
    chosen = explain(example_gradient(work.loss), work.params, cohort, jax.random.key(0)).microbatch_size
    return next(n for n in range(min(chosen, work.batch), 0, -1) if work.batch % n == 0)


def serve() -> None:
    """Answer ``{"work": W}`` with its microbatch, ``{"contestant": C, "microbatch": m}`` with its stages."""
    from benchmarks.step_time.catalogue import WORKS

    work = None
    for line in sys.stdin:
        request = json.loads(line)
        if "work" in request:
            work = WORKS[request["work"]]()
            answer: Any = own_microbatch(work)
        else:
            answer = stages(request["contestant"], work, request["microbatch"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
