__version__ = "0.1.0"

SAME_NUMBERS_SINCE = "0.1.0"
"""The oldest version under which every run gives the numbers that it gives under this one.

Results of that version and of all later ones stay finished; older ones are run again. A release that changes what any
run computes (data, models, noise, sampling, clipping, ε, metrics) raises it to itself; one that does not leaves it.
"""
