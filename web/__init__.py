"""The web tier: HTTP and nothing else."""
