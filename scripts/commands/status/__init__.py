"""`./scripts/status`: show the state of a running system."""
