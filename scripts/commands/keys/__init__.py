"""`./scripts/keys`: key rotation in steps, none of which logs anybody out."""
