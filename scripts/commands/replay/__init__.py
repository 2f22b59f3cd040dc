"""`./scripts/replay`: what a system admin does about jobs, over the API and so under their own name."""
