"""Own the figures that a brand reads: the overview and its buckets.

Public module: `overview`.
Imports `billing` and the domains below it.
"""
