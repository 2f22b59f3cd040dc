"""`./scripts/mutate`: put small faults into the code, one at a time, and count those that make a test fail."""
