"""Test the security headers of pages, files, documents and refusals."""

import re

import pytest
from falcon import inspect

from web.app import application

ROUTES = sorted(route.path for route in inspect.inspect_app(application).routes)
ALL = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
}
PUBLIC = (
    "/",
    "/docs",
    "/docs/errors",
    "/verify-email",
    "/accept-invitation",
    "/reset-password",
    "/confirm-email",
    "/undo-email",
)
PUBLIC += ("/s/", "/static/", "/favicon.ico", "/.well-known/")
PUBLIC += ("/api/v1/openapi.json", "/api/v1/consent-notices/")
"""Paths of answers that are equal for all callers, and cacheable with revalidation."""

INLINE_STYLES = "style-src 'self' 'unsafe-inline'"
"""Permitted on `/docs` only: the viewer of the API reference sets styles of its elements."""


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE", "POST"])
def test_answers_have_security_headers_for_browsers(client, method):
    wrong = []

    for route in (*ROUTES, "/nowhere"):
        answer = client.request(method, re.sub(r"\{[^}]*\}", "0198a3f0-0000-7000-8000-00000000000a", route))
        wrong += [f"{method} {route}: {fault}" for fault in faults(route, answer)]

    assert not wrong, "\n".join(wrong)


def faults(route, answer):
    """Return the missing and the superfluous headers."""
    headers = answer.headers
    policy = headers.get("content-security-policy", "")
    if route == "/docs":
        policy = policy.replace(INLINE_STYLES, "")
    may_be_kept = route == "/" or route.startswith(PUBLIC[1:])
    yield from (f"{name} is {headers.get(name)}" for name, value in ALL.items() if headers.get(name) != value)
    if "default-src 'none'" not in policy or "frame-ancestors 'none'" not in policy or "unsafe" in policy:
        yield f"its policy is {policy}"
    if "microphone=()" not in headers.get("permissions-policy", ""):
        yield "it permits too much"
    if "set-cookie" in headers:
        yield "there are cookies"
    if "no-store" not in headers.get("cache-control", "") and not may_be_kept:
        yield "it may be stored"
