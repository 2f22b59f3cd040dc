"""`./scripts/token`: print an access token for the local system."""
