"""What a private step on a language model holds in memory, as XLA counts it, beside the ordinary step's.

    python -m benchmarks.language_memory

LoRA of rank 8 on queries and values, 8 texts of 256 tokens in microbatches of 2, layers as one loop. Both steps clip
nothing, or clip and noise, on the same loss; of the weights only shapes are there, so that any size compiles here. Peak
is arguments, temporaries and outputs of the compiled step. Written to benchmarks/results/language_memory.json and .md.
"""

import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dpjax import Cohort, clipped_sum, example_gradient
from dpjax.models import objectives
from dpjax.models.transformers import Head, Lora, Plan, from_hub_config
from dpjax.models.transformers.narrow import Narrow
from dpjax.models.tuning import Tuned, abstract_parameters, fine_tune
from dpjax.models.tuning_methods import Method
from dpjax.noise import gaussian_privatizer

RESULTS = Path(__file__).parent / "results"
BATCH, MICROBATCH, LENGTH = 8, 2, 256

SHAPES: dict[str, dict[str, Any]] = {
    "SmolLM2-135M": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "max_position_embeddings": 8192,
        "rope_theta": 100000.0,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    "Qwen2.5-1.5B": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
}
"""Fields of each model's config.json that decide a shape."""

CASES: tuple[tuple[str, Narrow | None, str, bool], ...] = (
    ("SmolLM2-135M", None, "float32", False),
    ("SmolLM2-135M", "bfloat16", "float32", False),
    ("SmolLM2-135M", "int8", "float32", False),
    ("SmolLM2-135M", "nf4", "float32", False),
    ("SmolLM2-135M", "nf4", "float32", True),
    ("Qwen2.5-1.5B", None, "float32", False),
    ("Qwen2.5-1.5B", "bfloat16", "bfloat16", False),
    ("Qwen2.5-1.5B", "nf4", "bfloat16", False),
    ("Qwen2.5-1.5B", "nf4", "bfloat16", True),
)
"""Model, how its frozen matrices are stored, the dtype of activations, and whether layers are computed again."""

Step = Callable[[Any, Any, Any, Any], Any]


def ordinary(tuned: Tuned) -> Step:
    """The mean gradient, microbatch by microbatch, and a step of SGD."""

    def step(params: Any, frozen: Any, units: Any, key: Any) -> Any:
        loss = objectives.mean_loss(objectives.causal(tuned.next_tokens(frozen)))

        def total(params: Any, part: Any) -> Any:
            return jnp.sum(jax.vmap(lambda one: loss(params, one, key)[0])(part))

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, carry, jax.grad(total)(params, part)), None

        parts = jax.tree.map(lambda x: x.reshape(-1, MICROBATCH, *x.shape[1:]), units)
        gradient, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), parts)
        return jax.tree.map(lambda p, g: p - g / BATCH, params, gradient)

    return step


def private(tuned: Tuned) -> Step:
    """The same with every text's gradient clipped, and noise."""

    def step(params: Any, frozen: Any, units: Any, key: Any) -> Any:
        loss = objectives.mean_loss(objectives.causal(tuned.next_tokens(frozen)))
        clipped = clipped_sum(example_gradient(loss), microbatch_size=MICROBATCH)
        total = clipped(params, Cohort(units, jnp.ones(BATCH, bool)), key, 1.0).total
        privatizer = gaussian_privatizer(1.0, key)
        noisy, _ = privatizer.update(total, privatizer.init(total))
        return jax.tree.map(lambda p, g: p - g / BATCH, params, noisy)

    return step


def measured(name: str, kind: Narrow | None, dtype: str, again: bool) -> dict[str, Any]:
    """Bytes and seconds of both steps."""
    arch = from_hub_config(SHAPES[name])
    tuned = fine_tune(
        arch,
        abstract_parameters(arch),
        Head("causal"),
        Method("lora", Lora(8, 16.0, ("query", "value"))),
        plan=Plan(dtype=jnp.dtype(dtype), recompute=again),
        scan_layers=True,
        frozen_dtype=kind,
    )
    params = jax.eval_shape(tuned.init, tuned.start, jax.random.key(0))
    ids = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32)
    units = ids, jax.ShapeDtypeStruct((BATCH,), jnp.int32)
    row: dict[str, Any] = {"model": name, "frozen": kind or "float32", "dtype": dtype, "recompute": again}
    row["parameters"] = tuned.num_frozen + tuned.num_trained
    for who, step in (("ordinary", ordinary(tuned)), ("private", private(tuned))):
        began = time.perf_counter()
        compiled = jax.jit(step).lower(params, tuned.frozen, units, jax.random.key(0)).compile()
        memory = compiled.memory_analysis()
        assert memory is not None
        row["weights"] = memory.argument_size_in_bytes
        row[who] = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
        row[f"{who}_seconds"] = time.perf_counter() - began
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """The Markdown that the docs quote."""
    lines = [
        "| model | activations | layers | frozen matrices | weights | ordinary step | private step | | compiled in |",
        "|---|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        weights, plain, ours = (f"{row[part] / 2**20:,.0f} MiB" for part in ("weights", "ordinary", "private"))
        ratio, seconds = row["private"] / row["ordinary"], row["private_seconds"]
        layers = "again" if row["recompute"] else "kept"
        lines.append(
            f"| {row['model']} | {row['dtype']} | {layers} | {row['frozen']} | {weights} | {plain} | {ours} | "
            f"{ratio:.2f} × | {seconds:.0f} s |"
        )
    logits = MICROBATCH * LENGTH * 151936 * 4 / 2**20
    said = (
        f"Peak memory as XLA counts it: LoRA of rank 8, {BATCH} texts of {LENGTH} tokens, {MICROBATCH} at once, jax "
        f"{metadata.version('jax')}. Logits of such a microbatch would be {logits:,.0f} MiB with Qwen's vocabulary."
    )
    return "\n".join([said, "", *lines, ""])


def main() -> None:
    """Measures all, prints and writes."""
    rows = []
    for case in CASES:
        rows.append(measured(*case))
        print(rows[-1], flush=True)
    text = table(rows)
    print(text)
    (RESULTS / "language_memory.json").write_text(
        json.dumps({"jax": metadata.version("jax"), "rows": rows}, indent=1) + "\n"
    )
    (RESULTS / "language_memory.md").write_text(text)


if __name__ == "__main__":
    main()
