"""Whether two revisions compute the same: ``python -m benchmarks.same_results BASE``."""
