"""The OpenAPI document and the permission matrix, generated from the endpoints."""
