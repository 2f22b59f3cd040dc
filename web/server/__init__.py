"""The gunicorn worker and its configuration."""
