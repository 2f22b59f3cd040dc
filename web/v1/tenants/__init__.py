"""Endpoints of brands, members and assignments."""
