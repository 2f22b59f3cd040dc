"""`./scripts/admin`: create System Admins, set their passwords and reset their MFA."""
