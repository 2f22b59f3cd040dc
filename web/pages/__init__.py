"""HTML pages and their static files."""
