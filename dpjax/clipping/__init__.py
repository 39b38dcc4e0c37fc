"""The kernel: every unit's contribution bounded in L2, then summed.

One public function, several engines that return the same numbers at different prices.
"""

from dpjax.clipping.kernel import ENGINES, clipped_sum

__all__ = ["ENGINES", "clipped_sum"]
