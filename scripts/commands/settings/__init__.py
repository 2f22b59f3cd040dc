"""`./scripts/settings`: list and check the settings of this environment."""
