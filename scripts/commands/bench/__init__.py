"""Benchmarks: ratios to independent tools on the same machine in the same run, with lost and duplicate counts."""
