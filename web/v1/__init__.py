"""The API, version 1: one module a subject, each with its `ROUTES`."""

from web.v1 import (
    accounts,
    analytics,
    api_keys,
    assignments,
    audit,
    brands,
    campaigns,
    consents,
    credentials,
    dead_jobs,
    jobs,
    members,
    scans,
    second_factor,
    sessions,
    users,
)

MODULES = (
    accounts,
    analytics,
    api_keys,
    assignments,
    audit,
    brands,
    campaigns,
    consents,
    credentials,
    dead_jobs,
    jobs,
    members,
    scans,
    second_factor,
    sessions,
    users,
)

ROUTES: list[tuple[str, object]] = [route for module in MODULES for route in module.ROUTES]
