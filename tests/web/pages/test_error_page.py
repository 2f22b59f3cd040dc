"""The page of errors: the type of a problem leads to the description of its code."""

import re
from urllib.parse import urlsplit

from models.core.errors import REGISTRY


def test_type_of_a_problem_leads_to_the_description_of_its_code(client):
    refused = client.get("/api/v1/campaigns").json
    url = urlsplit(refused["type"])

    page = client.get(url.path)

    assert url.fragment == refused["code"] == "unauthenticated"
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert f'<section id="{url.fragment}">' in page.text


def test_page_describes_every_code_once(client):
    page = client.get("/docs/errors").text

    assert re.findall(r'<section id="(\w+)">', page) == list(REGISTRY)
    assert page.count("<td>") > 30


def test_page_allows_its_own_style_only(client):
    page = client.get("/docs/errors")

    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "<script" not in page.text
    assert client.get("/docs/errors", headers={"If-None-Match": page.headers["etag"]}).status_code == 304
