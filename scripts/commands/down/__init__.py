"""`./scripts/down`: stop what `./scripts/up` started."""
