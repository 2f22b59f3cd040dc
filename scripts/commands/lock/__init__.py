"""`./scripts/lock`: write the lock files."""
