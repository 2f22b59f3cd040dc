"""`./scripts/migrate`: bring the database's schema up to date."""
