"""The pages: self-contained, and all there."""

import re

import pytest

from web.pages import STATIC

PAGES = ["/docs", "/verify-email", "/accept-invitation"]


@pytest.fixture
def api(serve):
    return serve({})


@pytest.mark.parametrize("page", PAGES)
def test_everything_that_a_page_loads_comes_from_here(api, page):
    answer = api.get(page)
    loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.text)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert loaded
    for url in loaded:
        assert api.get(url).status_code == 200, url


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_of_a_page_lets_nothing_in_from_elsewhere_and_the_page_keeps_to_it(api, page):
    answer = api.get(page)
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "<style" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", answer.text)


def test_no_file_refers_to_another_host():
    for file in STATIC.iterdir():
        assert not re.search(r"https?://|//cdn|@import", file.read_text()), file.name


def test_every_file_is_served(api):
    for file in STATIC.iterdir():
        path = f"/{file.stem}" if file.suffix == ".html" else f"/static/{file.name}"
        answer = api.get(path)
        assert (answer.status_code, answer.content) == (200, file.read_bytes())
        assert api.get(path, headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("path", ["/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/docs.html"])
def test_no_other_file_is(api, path):
    assert api.get(path).status_code == 404


def test_the_root_sends_people_to_the_documentation_and_tells_programs_where_things_are(api):
    person = api.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    program = api.get("/")

    assert (person.status_code, person.headers["location"]) == (303, "/docs")
    assert api.get(program.json["openapi"]).status_code == 200
    assert api.get(program.json["health"]).status_code == 200
