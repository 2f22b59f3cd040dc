"""`./scripts/keys`: rotate token keys and root secrets in steps that keep all sessions valid."""
