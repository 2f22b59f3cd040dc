"""Test the comparison of refusals with the document, which every test with the fixture `client` makes."""

from types import SimpleNamespace

import pytest

from tests.support.documented import undocumented

ONE = "/api/v1/brands/0198a3f0-0000-7000-8000-0000000000b0/members/0198a3f0-0000-7000-8000-0000000000a1"


def refusal(status, code):
    return SimpleNamespace(status_code=status, content=b"{}", json={"code": code})


@pytest.mark.parametrize(
    ("method", "path", "answer", "found"),
    [
        ("DELETE", ONE, refusal(409, "last_brand_admin"), None),
        ("GET", ONE, refusal(409, "last_brand_admin"), f"GET {ONE}: last_brand_admin (409)"),
        ("DELETE", f"{ONE}?x=1", refusal(409, "label_taken"), f"DELETE {ONE}?x=1: label_taken (409)"),
        ("DELETE", ONE, refusal(401, "session_ended"), None),
        ("GET", "/api/v1/api-keys/scopes", refusal(403, "forbidden"), None),
        ("GET", "/nowhere", refusal(409, "label_taken"), None),
        ("GET", ONE, refusal(503, "overloaded"), None),
    ],
)
def test_refusal_that_the_document_does_not_list_is_found(method, path, answer, found):
    assert undocumented(method, path, answer) == found
