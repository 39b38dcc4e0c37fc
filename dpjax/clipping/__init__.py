"""The kernel: every unit's contribution bounded in L2, then summed.

One public function, several rules of clipping, and several engines that return the same numbers at different prices.
"""

from dpjax.clipping.adaptive import AdaptiveClipping, adaptive_clipping
from dpjax.clipping.engine_timing import Choice, autotune
from dpjax.clipping.explanation import Explanation, explain
from dpjax.clipping.factory import Summing
from dpjax.clipping.kernel import ENGINES, Aggregation, BoundedSum, Engine, SumFactory, clipped_sum
from dpjax.clipping.rules import (
    ClippingRule,
    automatic_clipping,
    flat_clipping,
    group_clipping,
    per_layer_clipping,
)

__all__ = [
    "ENGINES",
    "AdaptiveClipping",
    "Aggregation",
    "BoundedSum",
    "Choice",
    "ClippingRule",
    "Engine",
    "Explanation",
    "SumFactory",
    "Summing",
    "adaptive_clipping",
    "automatic_clipping",
    "autotune",
    "clipped_sum",
    "explain",
    "flat_clipping",
    "group_clipping",
    "per_layer_clipping",
]
