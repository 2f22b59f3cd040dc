"""`./scripts/replay`: control of jobs by a system admin, over the API and so under their own name."""
