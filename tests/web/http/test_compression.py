"""Compression of answers: negotiation, ETags, and the answers that must not be compressed."""

import asyncio
import gzip
import json
import re
import zlib

import msgspec
import pytest
from backports import zstd

from tests.web.conftest import Notebook, serving, small_app
from web.app import application
from web.http import compression
from web.http.compression import Kept, holds_secret
from web.http.endpoint import endpoint, etag, require_match
from web.http.endpoint_spec import spec_of
from web.v1 import ROUTES

DECODERS = {"gzip": gzip.decompress, "zstd": zstd.decompress, None: bytes}
LARGE = "x" * 2000


class Texts:
    """Answer with texts of a chosen length."""

    version = 7

    @endpoint(permission="public")
    def on_get(self, req, resp, size):
        etag(resp, self.version)
        resp.media = {"text": "x" * int(size)}

    @endpoint(permission="public")
    def on_put(self, req, resp, size):
        require_match(req, self.version, required=True)
        resp.media = {}


class Shown:
    """Answer with a secret."""

    @endpoint(permission="public", credentials=True)
    def on_get(self, req, resp):
        resp.media = {"text": LARGE}

    @endpoint(permission="public", own_sign_in=True)
    def on_put(self, req, resp):
        resp.media = {"text": LARGE}

    @endpoint(permission="public", idempotent=True, secret=True)
    def on_post(self, req, resp):
        resp.media = {"text": LARGE}


class Typed:
    """Answer with a media type, whole or as a stream."""

    async def on_get(self, req, resp, kind):
        types = {"svg": "image/svg+xml", "png": "image/png", "events": "text/event-stream"}
        resp.content_type = types.get(kind, "Text/Plain; charset=utf-8")
        if kind == "coded":
            resp.content_type = "text/plain"
            resp.set_header("Content-Encoding", "br")
        if kind == "stream":
            resp.content_type = "text/plain"

            async def parts():
                yield LARGE.encode()

            resp.stream = parts()
        else:
            resp.data = LARGE.encode()


@pytest.fixture(scope="module")
def api():
    routes = {"/texts/{size}": Texts(), "/shown": Shown(), "/typed/{kind}": Typed()}
    with serving(small_app(Notebook(), routes, cors_origins="https://app.example.com")) as client:
        yield client


def coding_of(answer):
    return answer.headers.get("content-encoding")


def decoded(answer):
    return DECODERS[coding_of(answer)](answer.content)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.5", "gzip"),
        ("GZIP ; Q=0.8", "gzip"),
        ("*", "zstd"),
        ("zstd;q=0, *", "gzip"),
        ("br", None),
        ("gzip;q=0", None),
        ("gzip;q=0, *;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("gzip;q=nan", None),
        ("gzip;q=-1", None),
        ("gzip;q=many", None),
        ("gzip;level=1", None),
        (",;,=,", None),
    ],
)
def test_coding_follows_the_weights_of_the_client(api, accepted, coding):
    sent = {} if accepted is None else {"Accept-Encoding": accepted}

    answer = api.get("/texts/5000", headers=sent)

    assert coding_of(answer) == coding
    assert json.loads(decoded(answer)) == {"text": "x" * 5000}
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["vary"] == "Origin, Accept-Encoding"
    assert (len(answer.content) < 200) == (coding is not None)


def test_small_answer_is_neither_compressed_nor_negotiated(api, monkeypatch):
    monkeypatch.setattr(compression, "preferred_coding", None)  # not even called

    answer = api.get("/texts/1000", headers={"Accept-Encoding": "gzip"})

    assert len(answer.content) == 1011
    assert (coding_of(answer), answer.headers["vary"]) == (None, "Origin")


def test_large_answer_is_compressed_in_a_thread(api):
    answer = api.get("/texts/500000", headers={"Accept-Encoding": "gzip"})

    assert len(json.loads(decoded(answer))["text"]) == 500_000


def test_answers_with_secrets_are_not_compressed(api):
    for method in ("GET", "PUT", "POST"):
        answer = api.request(method, "/shown", headers={"Accept-Encoding": "gzip"})

        assert (coding_of(answer), len(answer.content) > 2000) == (None, True), method


@pytest.mark.parametrize(
    ("kind", "is_compressed"),
    [
        ("svg", True),
        ("text", True),
        ("png", False),
        ("events", False),
        ("coded", False),
        ("stream", False),
    ],
)
def test_whole_texts_are_compressed_and_other_answers_are_not(api, kind, is_compressed):
    answer = api.get(f"/typed/{kind}", headers={"Accept-Encoding": "gzip"})

    assert (coding_of(answer) == "gzip") == is_compressed
    assert is_compressed or answer.content == LARGE.encode()


@pytest.mark.parametrize("coding", ["gzip", "zstd", None])
def test_etag_of_a_coding_works_as_condition(api, coding):
    sent = {"Accept-Encoding": coding} if coding else {}
    tag = api.get("/texts/2000", headers=sent).headers["etag"]

    repeated = api.get("/texts/2000", headers={**sent, "If-None-Match": tag})
    changed = api.put("/texts/1", headers={"If-Match": tag})

    assert tag == (f'"7;{coding}"' if coding else '"7"')
    assert (repeated.status_code, repeated.headers["etag"], repeated.content) == (304, tag, b"")
    assert ("Accept-Encoding" in repeated.headers["vary"]) == (coding is not None)
    assert changed.status_code == 200


def test_etag_of_another_version_is_refused_in_each_coding(api):
    for tag in ('"8;gzip"', '"7;br"', 'W/"7;gzip"', '"7;gzip;gzip"'):
        assert api.put("/texts/1", headers={"If-Match": tag}).status_code == 412, tag
    for tag in ('"8;gzip"', '"8"', '"7;br"'):
        assert api.get("/texts/2000", headers={"If-None-Match": tag}).status_code == 200, tag
    assert api.get("/texts/2000", headers={"If-None-Match": "*"}).headers["etag"] == '"7"'


def test_constant_answer_is_compressed_once(client, monkeypatch):
    calls = []
    monkeypatch.setitem(compression.CODINGS, "gzip", lambda data, once: calls.append(once) or gzip.compress(data))
    url = "/static/scan-words.js"
    kept = application._router.find(url)[0]._assets["scan-words.js"].kept
    monkeypatch.setattr(kept, "_coded", {})

    answers = [client.get(url, headers={"Accept-Encoding": "gzip"}) for _ in range(3)]
    plain = client.get(url)

    assert calls == [True]
    assert {answer.content for answer in answers} == {answers[0].content}
    assert gzip.decompress(answers[0].content) == plain.content


def test_document_is_small_in_each_coding(client):
    plain = client.get("/api/v1/openapi.json")

    for coding in ("gzip", "zstd"):
        answer = client.get("/api/v1/openapi.json", headers={"Accept-Encoding": coding})
        assert len(answer.content) < len(plain.content) / 6
        assert decoded(answer) == plain.content


def test_head_has_the_headers_of_get(client):
    sent = {"Accept-Encoding": "gzip"}
    get, head = (client.request(method, "/static/scan-words.js", headers=sent) for method in ("GET", "HEAD"))

    names = ("content-length", "content-encoding", "etag", "vary")
    assert [head.headers.get(name) for name in names] == [get.headers.get(name) for name in names]


def test_gzip_has_no_time_so_that_equal_answers_are_equal():
    coded = compression.CODINGS["gzip"](b"x" * 2000, False)

    assert coded[4:8] == b"\0\0\0\0"
    assert zlib.decompress(coded, 31) == b"x" * 2000


SECRET = re.compile(r"(.*_)?(token|secret|key|codes|password|uri|link)$")
"""Members of answers that hold secrets."""
HARMLESS = {"token_type", "record_key", "notice_key", "unique_key"}
SHOWN = ("/codes", "/campaigns", "/rewards", "/crm/properties")
"""Parts of the paths whose answers show no secret: tokens of printed codes, and the keys of rewards and properties."""


def members(kind, seen):
    """Return the names of all members of a type, at any depth."""
    if kind in seen:
        return set()
    seen.add(kind)
    names = set()
    for part in (kind, *getattr(kind, "__args__", ())):
        fields = getattr(part, "__struct_fields__", ())
        names |= set(fields)
        if fields:
            for field in msgspec.structs.fields(part):
                names |= members(field.type, seen)
        elif part is not kind and hasattr(part, "__args__"):
            names |= members(part, seen)
    return names


def test_every_answer_with_a_secret_is_left_uncompressed():
    specs = [
        (f"{method} {path}", spec)
        for path, resource in ROUTES
        for method in ("get", "post", "put", "patch", "delete")
        if (spec := spec_of(resource, method)) and spec.response is not None
    ]
    secret = {name for name, spec in specs if any(SECRET.match(m) for m in members(spec.response, set()) - HARMLESS)}

    assert len(specs) > 50
    assert {"post /api/v1/api-keys", "post /api/v1/auth/login", "post /api/v1/users/me/mfa"} <= secret
    assert [
        name
        for name, spec in specs
        if name in secret and not any(part in name for part in SHOWN) and not holds_secret(spec)
    ] == []


def test_kept_content_of_both_codings_is_the_same():
    kept = Kept(b"text " * 1000)

    assert {DECODERS[coding](asyncio.run(kept.coded(coding))) for coding in ("gzip", "zstd")} == {kept.content}
