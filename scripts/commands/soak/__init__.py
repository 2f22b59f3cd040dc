"""The job engine under faults: what was asked for is counted beside what happened."""
