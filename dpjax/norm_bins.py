"""Into which bins a step counts the norms of its contributions."""

NORM_BIN_EDGES: tuple[float, ...] = tuple(2.0 ** (k / 2) for k in range(-16, 17))
"""Edges of the bins of ``norm_counts_*``, in clip norms (in 1 where there is none); below and above lie two more."""
