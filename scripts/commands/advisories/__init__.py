"""`./scripts/advisories`: check the lock files for known vulnerabilities."""
