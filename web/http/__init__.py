"""The endpoint framework: validation, authentication, limits, errors and encoding of every endpoint."""
