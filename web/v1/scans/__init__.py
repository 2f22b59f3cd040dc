"""Endpoints of scans and of codes as fans see them."""
