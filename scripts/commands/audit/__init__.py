"""`./scripts/audit`: verify the audit trail in the database or in an export file, and export it."""
