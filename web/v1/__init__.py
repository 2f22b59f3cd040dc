"""The API, version 1: one module for each entry of `SUBJECTS`, each with its `ROUTES`."""

from importlib import import_module

SUBJECTS = (
    "audit",
    "campaigns",
    "consents",
    "identity.api_keys",
    "identity.credentials",
    "identity.mfa",
    "identity.profile",
    "identity.sessions",
    "identity.sign_in",
    "identity.signups",
    "identity.users",
    "insights.overview",
    "jobs.dead_letters",
    "jobs.jobs",
    "scans.codes",
    "scans.scans",
    "tenants.assignments",
    "tenants.brands",
    "tenants.invitations",
    "tenants.members",
)

ROUTES: list[tuple[str, object]] = [
    route for subject in SUBJECTS for route in import_module(f"web.v1.{subject}").ROUTES
]
