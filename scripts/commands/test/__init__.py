"""`./scripts/test`: run the tests and every other check."""
