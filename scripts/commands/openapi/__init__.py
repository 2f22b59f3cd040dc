"""`./scripts/openapi`: print the OpenAPI document, compare two documents, and keep the document of a release."""
