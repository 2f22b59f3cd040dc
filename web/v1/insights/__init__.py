"""Endpoints of the overview."""
