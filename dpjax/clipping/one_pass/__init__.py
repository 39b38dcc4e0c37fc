"""The one-pass engine: norms of all units from one backward pass, and their clipped sum from what is left of it."""
