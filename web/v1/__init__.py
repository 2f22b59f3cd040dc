"""The API, version 1: one module a subject, each with its `ROUTES`."""

from importlib import import_module

SUBJECTS = (
    "accounts",
    "analytics",
    "api_keys",
    "assignments",
    "audit",
    "brands",
    "campaigns",
    "codes",
    "consents",
    "credentials",
    "dead_jobs",
    "jobs",
    "members",
    "scans",
    "second_factor",
    "sessions",
    "users",
)

ROUTES: list[tuple[str, object]] = [
    route for subject in SUBJECTS for route in import_module(f"web.v1.{subject}").ROUTES
]
