"""Test that every route is built by `@endpoint`: tests of the framework on a few endpoints then hold for all."""

import pytest

from tests.contract.examples import EXAMPLES
from web.app import application
from web.http import endpoint
from web.openapi.document import endpoint_specs

PAGES = {"/", "/docs", "/docs/errors", "/favicon.ico", "/api/v1/openapi.json", "/s/{token}"}
FILES = {"/files/uploads/{name}", "/files/private/{name}", "/media/{name}"}
"""Routes of files: streams that a signed URL opens. They read no token of a session."""
MAIL_PAGES = {"/verify-email", "/accept-invitation", "/reset-password", "/confirm-email", "/undo-email"}
"""Routes without `@endpoint`: static pages and the document. They read no body and no token."""


def routes(nodes):
    """Yield the URI template and the responders of each route."""
    for node in nodes:
        if node.resource is not None:
            yield node.uri_template, node.method_map
        yield from routes(node.children)


def test_routes_except_pages_are_built_by_endpoint():
    built, pages = set(), set()
    for template, responders in routes(application._router._roots):
        for method, responder in responders.items():
            if getattr(responder, "__module__", "").startswith("falcon."):
                continue  # OPTIONS, and 405 for a method that the resource lacks
            # A responder that wraps `@endpoint` again, or copies its declaration, has other code.
            is_built = hasattr(responder, "spec") and responder.__code__.co_filename == endpoint.__file__
            (built if is_built else pages).add((template, method))

    assert {template for template, _ in pages if not template.startswith("/static/")} == PAGES | FILES | MAIL_PAGES
    assert {method for template, method in pages if template not in FILES} == {"GET", "HEAD"}
    assert len(built) > 90


def test_each_operation_has_an_example_request():
    for operation in endpoint_specs(application):
        assert EXAMPLES[operation]


def test_operation_without_example_fails_with_what_to_do():
    with pytest.raises(LookupError) as failed:
        EXAMPLES["POST", "/api/v1/notes"]

    assert "POST /api/v1/notes has no example request" in str(failed.value)
    assert 'add `_example("POST /api/v1/notes", …)` to tests/contract/examples.py' in str(failed.value)
