"""Benchmarks: ratios to plain tools on the same machine in the same run, with loss and duplicates beside speed."""
