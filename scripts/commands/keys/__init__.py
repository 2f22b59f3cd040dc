"""`./scripts/keys`: rotate keys in steps that end no session."""
