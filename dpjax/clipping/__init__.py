"""The kernel: every unit's contribution bounded in L2, then summed.

One public function, several rules of clipping, and several engines that return the same numbers at different prices.
"""

from dpjax.clipping.autotune import Choice, autotune
from dpjax.clipping.explain import Explanation, explain
from dpjax.clipping.kernel import ENGINES, Aggregation, BoundedSum, SumFactory, clipped_sum
from dpjax.clipping.rules import (
    ClippingRule,
    automatic_clipping,
    flat_clipping,
    group_clipping,
    per_layer_clipping,
)

__all__ = [
    "ENGINES",
    "Aggregation",
    "BoundedSum",
    "Choice",
    "ClippingRule",
    "Explanation",
    "SumFactory",
    "automatic_clipping",
    "autotune",
    "clipped_sum",
    "explain",
    "flat_clipping",
    "group_clipping",
    "per_layer_clipping",
]
