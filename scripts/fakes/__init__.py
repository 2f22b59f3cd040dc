"""Local fakes of external services."""
