"""`./scripts/up`: start the whole system on this machine."""
