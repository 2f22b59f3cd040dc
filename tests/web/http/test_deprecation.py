"""Test the headers and the documentation of deprecated endpoints."""

from datetime import date

import pytest

from web.http.endpoint import endpoint


class Old:
    @endpoint(
        permission="public",
        status=204,
        deprecated_since=date(2027, 1, 1),
        sunset=date(2027, 12, 31),
        successor="/api/v2/things",
    )
    def on_get(self, req, resp): ...

    @endpoint(permission="authenticated", status=204, deprecated_since=date(2027, 1, 1))
    def on_post(self, req, resp): ...

    @endpoint(permission="public", status=204)
    def on_delete(self, req, resp): ...


@pytest.fixture
def api(serve):
    return serve({"/old": Old()})


def test_answers_of_deprecated_endpoint_have_deprecation_and_sunset(api):
    headers = api.get("/old").headers

    assert headers["deprecation"] == "@1798761600"
    assert headers["sunset"] == "Fri, 31 Dec 2027 00:00:00 GMT"
    assert headers["link"] == '</api/v2/things>; rel="successor-version"'


def test_refusal_of_deprecated_endpoint_has_deprecation(api):
    refused = api.post("/old")

    assert refused.status_code == 401
    assert refused.headers["deprecation"] == "@1798761600"
    assert "sunset" not in refused.headers


def test_answers_of_other_endpoints_have_no_deprecation(api):
    assert not {"deprecation", "sunset", "link"} & api.delete("/old").headers.keys()


def test_deprecated_endpoint_is_marked_in_the_document(api):
    operations = api.get("/api/v1/openapi.json").json["paths"]["/old"]

    assert operations["get"]["deprecated"] is True
    assert operations["get"]["x-sunset"] == "2027-12-31"
    assert (
        "Deprecated since 2027-01-01. It may be gone after 2027-12-31. Use `/api/v2/things` instead."
        in (operations["get"]["description"])
    )
    assert {"Deprecation", "Sunset", "Link"} <= operations["get"]["responses"]["204"]["headers"].keys()
    assert "x-sunset" not in operations["post"]
    assert "deprecated" not in operations["delete"]
