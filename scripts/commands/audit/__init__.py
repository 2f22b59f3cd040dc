"""`./scripts/audit`: whether the audit trail is what was sealed, here and offline."""
