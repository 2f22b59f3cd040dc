"""The pages: self-contained, and all there."""

import re
from functools import cache
from string import Template
from uuid import UUID

import pytest
from falcon import inspect

from models.campaigns.codes import make_token
from models.scans.outcomes import REFUSALS
from web.app import application
from web.openapi.document import document
from web.pages import assets
from web.pages.assets import STATIC
from web.pages.mail_pages import PAGES as MAIL_PAGES
from web.pages.mail_pages import SHARED, SUPABASE_INVITATION, MailPage

described = cache(document)
SCAN = f"/s/{make_token(UUID(int=1), 1)}"
PAGES = ["/docs", *(f"/{name}" for name in MAIL_PAGES), SCAN]


@pytest.fixture
def api(serve):
    return serve({})


def loaded(html):
    """Return the URLs that a page loads or links to, without links inside it and to its other languages."""
    return re.findall(r'(?:src|href)="([^"#?]+)"', html)


def rendered(page, language="en"):
    """Return the HTML of a mail page."""
    return Template((STATIC / "mail-link.html").read_text()).safe_substitute(page.values(language))


@pytest.mark.parametrize("page", PAGES)
def test_pages_load_only_own_files(api, page):
    answer = api.get(page)

    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert len(loaded(answer.text)) >= 3
    for url in loaded(answer.text):
        assert api.get(url).status_code == 200, url


@pytest.mark.parametrize("page", PAGES)
def test_content_security_policy_of_pages_excludes_other_hosts(api, page):
    answer = api.get(page)
    policy = answer.headers["content-security-policy"]

    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert ("unsafe" in policy) == (page == "/docs"), "the library of the reference creates styles"
    assert policy.count("unsafe-inline") == policy.count("style-src 'self' 'unsafe-inline'") == policy.count("unsafe")
    assert "http" not in policy
    assert "<style" not in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)", answer.text)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", answer.text)


def test_static_files_refer_to_no_other_host():
    for file in [*STATIC.glob("*.html"), *STATIC.glob("*.css"), *STATIC.glob("*.js")]:
        assert not re.search(r"https?://|//cdn|@import", file.read_text()), file.name


def test_every_asset_is_served_for_ever_under_the_url_of_its_content(api):
    files = assets.load()

    for name, asset in files.items():
        present, other = api.get(asset.url), api.get(f"/static/{name}")
        assert (present.status_code, present.content) == (200, asset.kept.content)
        assert present.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert (other.headers["cache-control"], other.content) == ("no-cache", asset.kept.content)
        assert api.get(asset.url, headers={"If-None-Match": present.headers["etag"]}).status_code == 304
    assert set(files) - {"scalar.js"} == {file.name for file in STATIC.iterdir() if file.suffix != ".html"}


def test_asset_of_another_release_is_the_present_one_without_caching(api):
    answer = api.get(f"/static/pages.{'0' * 16}.css")

    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")


def test_favicon_is_an_icon(api):
    answer = api.get("/favicon.ico")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/x-icon")


@pytest.mark.parametrize("language", SHARED)
@pytest.mark.parametrize("page", [*MAIL_PAGES.values(), SUPABASE_INVITATION], ids=lambda page: page.to)
def test_mail_page_sends_valid_requests_to_its_endpoint(page, language):
    schemas = described(application)["components"]["schemas"]
    operation = described(application)["paths"][page.to]["post"]
    body = schemas[operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    form = rendered(page, language).split("<form")[1]
    asked = set(re.findall(r'name="(\w+)"', form))

    assert set(body["required"]) <= asked | {"token"} <= set(body["properties"])
    needs_session = {} not in (operation.get("security") or [{}])
    assert ("sign_in" in page.texts[language]) == needs_session
    assert page.makes_account == ("notice_id" in body["properties"])
    assert ("locale" in body["properties"]) == (f'name="locale" type="hidden" value="{language}"' in form)


@pytest.mark.parametrize("page", [*(f"/{name}" for name in MAIL_PAGES), SCAN])
@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("lang=es", "en", "es"),
        ("lang=en", "es-MX,es;q=0.9", "en"),
        ("", "es-MX,es;q=0.9,en;q=0.8", "es"),
        ("", "fr-FR, es;q=0.5, en;q=0.4", "es"),
        ("", "fr", "en"),
        ("", "", "en"),
        ("lang=xx", "es", "es"),
        ("lang=%00", "", "en"),
        ("lang=xx&lang=es", "", "es"),
    ],
)
def test_page_is_in_the_language_of_the_link_or_browser(api, page, query, accepted, language):
    answer = api.get(page, query_string=query, headers={"Accept-Language": accepted})

    assert f'<html lang="{language}">' in answer.text
    assert answer.headers["content-language"] == language
    assert "Accept-Language" in answer.headers["vary"]


@pytest.mark.parametrize("name", MAIL_PAGES)
def test_mail_page_in_spanish_has_no_english_title(api, name):
    spanish = api.get(f"/{name}?lang=es").text

    assert "Esta página necesita JavaScript." in spanish
    assert MAIL_PAGES[name].texts["en"]["title"] not in spanish


def test_texts_of_a_mail_page_are_escaped():
    texts = {"title": "<b>", "text": "<i>&", "button": '"><script>', "done": "'\"", "sign_in": "<u>"}
    page = MailPage("/x", {"en": texts})
    made = rendered(page)

    assert not re.search(r"<[biu]>|<script>", made)
    assert 'data-done="&#x27;&quot;"' in made


@pytest.mark.parametrize(
    "path", ["/static/", "/static/../app.py", "/static/%2e%2e/app.py", "/static/reference.html", "/static/pages"]
)
def test_other_static_paths_return_404(api, path):
    assert api.get(path).status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_page_url_with_trailing_slash_redirects_to_the_page(api, page):
    answer = api.get(f"{page}/", query_string="utm=a%20b")

    assert (answer.status_code, answer.headers["location"]) == (308, f"{page}?utm=a%20b")
    assert api.get(f"{page}/").headers["location"] == page
    assert api.get(f"{page}//").status_code == 404


@pytest.mark.parametrize("path", ["/api/v1/users/me/", "/readyz/", "/static/pages.css/", "/api/v1/openapi.json/"])
def test_other_url_with_trailing_slash_returns_404(api, path):
    assert api.get(path).status_code == 404


def served_paths():
    """Return the path of everything that `web.pages.pages` serves."""
    routes = [route.path for route in inspect.inspect_app(application).routes]
    return [path for path in routes if not path.startswith(("/api/v1/", "/healthz", "/readyz", "/metrics"))]


@pytest.mark.parametrize("path", [*served_paths(), "/api/v1/openapi.json"])
def test_head_of_a_page_is_answered_without_body(api, path):
    path = path.replace("/s/{token}", SCAN).replace("{name}", "scan.css")
    own = {"x-request-id", "x-correlation-id"}

    get, head = api.get(path), api.request("HEAD", path)

    assert head.status_code == get.status_code
    assert head.content == b""
    assert {name: value for name, value in head.headers.items() if name not in own} == {
        name: value for name, value in get.headers.items() if name not in own
    }


@pytest.mark.parametrize("token", ["x", "Ab9-_", "a" * 200])
def test_truncated_token_gets_the_page(api, token):
    answer = api.get(f"/s/{token}")

    assert (answer.status_code, answer.content) == (200, api.get(SCAN).content)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a" * 201,
        "a.b",
        "a%20b",
        "a%0A",
        "a=",
        "a+b",
        "%C3%B1",
        "a/b",
        "a%2Fb",
        "..%2Fdocs",
        "%3Cscript%3E",
        "a//",
        "a%20b/",
    ],
)
def test_malformed_token_returns_404(api, token):
    answer = api.get(f"/s/{token}")

    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    assert answer.headers["content-type"] == "application/problem+json"


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.mark.parametrize(
    ("path", "accepted", "title"),
    [
        ("/s/bad!", "en", "This is not one of our codes"),
        ("/s/bad!", "es", "Este código no es nuestro"),
        ("/nowhere", "en", "This page does not exist"),
        ("/nowhere?lang=es", "en", "Esta página no existe"),
        ("/docs?" + "a" * 5000, "en", "This request can&#x27;t be answered"),
    ],
)
def test_browser_gets_an_error_page_in_its_language(api, path, accepted, title):
    program = api.get(path, headers={"Accept": "*/*"})
    person = api.get(path, headers={"Accept": BROWSER, "Accept-Language": accepted})

    assert (program.headers["content-type"], person.status_code) == ("application/problem+json", program.status_code)
    assert person.headers["content-type"] == "text/html; charset=utf-8"
    assert f"<h1>{title}</h1>" in person.text
    assert person.headers["x-request-id"] in person.text
    assert person.headers["cache-control"] == "no-store"
    assert sorted(person.headers["vary"].split(", ")) == ["Accept", "Accept-Language"]
    assert [url for url in loaded(person.text) if api.get(url).status_code != 200] == []


def test_browser_gets_a_problem_document_of_the_api(api):
    answer = api.get("/api/v1/nowhere", headers={"Accept": BROWSER})

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_scan_page_policy_allows_only_own_scripts_and_api(api):
    answer = api.get(SCAN)
    policy = dict(part.split(maxsplit=1) for part in answer.headers["content-security-policy"].split("; "))

    assert (policy["script-src"], policy["style-src"], policy["connect-src"]) == ("'self'", "'self'", "'self'")
    assert "geolocation=(self)" in answer.headers["permissions-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer"
    asked = set(re.findall(r"/api/v1/[a-z/-]+", "".join(file.read_text() for file in STATIC.glob("scan*.js"))))
    for path in asked:
        assert path in {
            "/api/v1/auth/anonymous",
            "/api/v1/auth/refresh",
            "/api/v1/consents",
            "/api/v1/consents/",
            "/api/v1/qr/codes/",
            "/api/v1/qr/scan",
        }
    assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b", (STATIC / "scan.js").read_text())


def test_scan_page_is_small(api):
    urls = [SCAN, *loaded(api.get(SCAN).text)]

    assert sum(len(api.get(url).content) for url in urls) < 50_000


def words_in(locale):
    """Return the share of words that are in one language."""
    text = (STATIC / "scan-words.js").read_text()
    return text.split(f"\n  {locale}: {{\n")[1].split("\n  },\n")[0]


@pytest.mark.parametrize("locale", ["en", "es"])
def test_scan_page_has_texts_for_every_outcome(locale):
    # Those are answered with a new session, and by asking again.
    told = {code for code, kind in REFUSALS.items() if kind.status not in (401, 503)} | {"accepted", "replay"}

    assert told <= set(re.findall(r"^      (\w+): \[", words_in(locale), re.MULTILINE))


def test_scan_page_has_equal_texts_in_both_languages():
    english, spanish = (re.findall(r"^ {4,8}(\w+):", words_in(locale), re.MULTILINE) for locale in ("en", "es"))

    assert english == spanish
    assert len(english) > 40


def test_root_redirects_browsers_and_lists_urls_for_programs(api):
    person = api.get("/", headers={"Accept": "text/html,application/xhtml+xml"})
    program = api.get("/")

    assert (person.status_code, person.headers["location"]) == (303, "/docs")
    assert api.get(program.json["openapi"]).status_code == 200
    assert api.get(program.json["health"]).status_code == 200


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("*/*", 200),
        ("application/json, text/html;q=0", 200),
        ("application/json, text/html;q=0.9", 200),
        ("text/html;q=0.5, application/json;q=0.4", 303),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 303),
        ("TEXT/HTML", 303),
        ("text/*", 303),
        ("image/png", 200),
        ("nonsense", 200),
    ],
)
def test_root_answers_in_the_preferred_media_type(api, accept, status):
    answer = api.get("/", headers={"Accept": accept})

    assert (answer.status_code, answer.headers["vary"]) == (status, "Accept")
