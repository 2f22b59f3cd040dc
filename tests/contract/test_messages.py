"""Test whole bodies that are not JSON objects, and header fields that contradict the body."""

import gzip
import json
from dataclasses import replace

from settings import settings
from tests.contract.examples import EXAMPLES
from tests.contract.expected import REPRESENTATIVES, body_schema, declared, faults, operations, require_none
from tests.contract.raw_client import Request

LIMIT = settings.max_body_bytes
LARGE = b'{"a":"' + b"x" * (10 << 20) + b'"}'


def refused_bodies(body: bytes):
    """Yield invalid bodies made of a valid one, with the statuses that may refuse them."""
    yield "empty", b"", (400,)
    yield "white space", b" \r\n\t ", (400,)
    yield "NUL", b"\0", (400,)
    yield "binary", bytes(range(256)), (400,)
    yield "null", b"null", (422,)
    yield "a number", b"1", (422,)
    yield "a string", b'"a"', (422,)
    yield "an array", b"[" + body + b"]", (422,)
    yield "two documents", body + b"\n" + body, (400,)
    yield "trailing data", body + b"x", (400,)
    yield "truncated", body[: len(body) // 2], (400,)
    yield "without its last byte", body[:-1], (400,)
    yield "byte order mark", b"\xef\xbb\xbf" + body, (400,)
    yield "UTF-16", body.decode().encode("utf-16"), (400,)
    yield "UTF-16 without a mark", body.decode().encode("utf-16-le"), (400,)
    yield "UTF-32", body.decode().encode("utf-32"), (400,)
    yield "UTF-7", b"+AHsAfQ-", (400,)
    yield "Latin-1", json.dumps({"x": "é"}, ensure_ascii=False).encode("latin-1"), (400,)
    yield "overlong UTF-8", b'{"x": "\xc0\x80"}', (400,)
    yield "surrogates as UTF-8", b'{"x": "\xed\xa0\x80"}', (400,)
    yield "beyond Unicode", b'{"x": "\xf4\x90\x80\x80"}', (400,)
    yield "a form", b"email=a%40b.example&password=x", (400,)
    yield "XML", b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>', (400,)
    yield "compressed", gzip.compress(body), (400,)
    yield "nested without end", b"[" * LIMIT, (400,)
    yield "nested objects without end", b'{"a":' * (LIMIT // 5), (400,)
    yield "keys up to the size limit", b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}", (422,)
    yield "items up to the size limit", b"[" + b"0," * (LIMIT // 2 - 2) + b"0]", (422,)
    yield "a number of the maximum size", b"9" * LIMIT, (400,)
    yield "a fraction of the maximum size", b'{"a": 0.' + b"9" * (LIMIT - 20) + b"}", (400, 422)
    yield "a string of the maximum size", b'"' + b"\\u0041" * ((LIMIT - 2) // 6) + b'"', (422,)


def refused_messages(request: Request):
    """Yield the valid request with header fields that contradict its body, with the statuses that may refuse them."""
    body = request.body

    def described(*headers, parts=(body,), cut=False, drop=()):
        said = request.with_headers(*headers, without=drop)
        return replace(said, body=parts[0], more=tuple(parts[1:]), cut=cut)

    def typed(content_type):
        return described(("Content-Type", content_type))

    chunked = ("Transfer-Encoding", "chunked")
    for content_type in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json-patch+json",
        "application/jsonx",
        "json",
        "*/*",
        "",
        ";",
        "\xff",
        "a" * 8000,
        "application/json; charset=utf-16",
        "application/json; charset=latin-1",
        "application/json; charset=",
        "application/json; charset=utf-8; charset=utf-7",
        "application/json, text/plain",
    ):
        yield f"content type {content_type[:40]!r}", typed(content_type), (415,)
    yield "no content type", described(drop=["Content-Type"]), (415,)
    for coding in ("gzip", "deflate", "br", "zstd", "x", "gzip, gzip", "identity, gzip"):
        yield f"encoded as {coding}", described(("Content-Encoding", coding)), (415,)
    yield "gzip body", described(("Content-Encoding", "gzip"), parts=[gzip.compress(body)]), (415,)
    for length in ("-1", "1.5", "1e3", "abc", "0x10", " ", "+5", "1_0", "٣", "9" * 30, "1, 2"):
        yield f"length {length!r}", described(("Content-Length", length.encode())), (400, 413)
    yield "length above the limit", described(("Content-Length", str(LIMIT + 1))), (413,)
    yield "length 2**64", described(("Content-Length", str(2**64))), (413,)
    yield "10 MB", described(("Content-Length", str(len(LARGE))), parts=[LARGE]), (413,)
    yield "10 MB in chunks", described(chunked, parts=chunks(LARGE), drop=["Content-Length"]), (413,)
    yield "endless chunks", described(chunked, parts=[b" " * 1000] * 1000, drop=["Content-Length"]), (413,)
    yield "length above the body size", described(("Content-Length", str(len(body) + 1)), cut=True), (400,)
    yield "disconnects within the body", described(parts=[body[:3]], cut=True), (400,)
    yield "disconnects within chunks", described(chunked, parts=[body[:3]], cut=True, drop=["Content-Length"]), (400,)
    yield "disconnects before the last chunk", described(chunked, cut=True, drop=["Content-Length"]), (400,)
    yield "gzip in chunks", described(("Transfer-Encoding", "gzip, chunked"), drop=["Content-Length"]), (415,)
    yield "disconnects before the body", described(parts=[b""], cut=True), (400,)


def chunks(body: bytes) -> list[bytes]:
    return [body[start : start + 65_536] for start in range(0, len(body), 65_536)]


TAKING_BODIES = [operation for operation in REPRESENTATIVES if body_schema(operation)]
OPTIONAL_BODY = [o for o in operations() if body_schema(o) and not declared(o)["requestBody"]["required"]]


def test_body_that_is_not_a_json_object_is_refused_and_writes_nothing(seed, raw_client, writes):
    def check(operation):
        example = EXAMPLES[operation](seed)
        before, right = writes.snapshot(), example.request()
        cases = [(name, example.request(raw=raw), statuses) for name, raw, statuses in refused_bodies(right.body)]
        if operation in OPTIONAL_BODY:
            cases = [case for case in cases if case[1].body]
        yield from message_faults(raw_client, [*cases, *refused_messages(right)])
        yield from writes.tables_changed_since(before)

    require_none([*TAKING_BODIES, *OPTIONAL_BODY], check)


def message_faults(raw_client, cases):
    """Send the requests. Yield a fault for each answer with another status than expected."""
    answers = raw_client.send_all([request for _, request, _ in cases])
    for (name, _, statuses), answer in zip(cases, answers, strict=True):
        yield from (f"{name}: {fault}" for fault in faults(answer))
        if answer.status not in statuses:
            yield f"{name}: {answer.status} {answer.code}, not {statuses}"


def test_chunked_body_has_the_effect_of_a_whole_body(seed, raw_client):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        pieces = tuple(right.body[n : n + 1] for n in range(len(right.body)))
        chunked = right.with_headers(("Transfer-Encoding", "chunked"), without=["Content-Length"])
        answer = raw_client.send(replace(chunked, body=b"", more=(*pieces, b"")))
        if answer.status >= 300:
            yield f"{answer.status} {answer.body!r}"

    require_none(TAKING_BODIES, check)


def test_undeclared_body_is_not_read(seed, raw_client):
    def check(operation):
        right = EXAMPLES[operation](seed).request()
        typed = right.with_headers(("Content-Type", "application/json"), ("Content-Length", str(len(LARGE))))
        answer = raw_client.send(replace(typed, body=LARGE))
        if answer.status >= 300 or str(answer.status) not in declared(operation)["responses"]:
            yield f"{answer.status} {answer.body!r}"

    without_body = [o for o in REPRESENTATIVES if o not in TAKING_BODIES]
    require_none([*without_body, ("POST", "/api/v1/campaigns/{campaign_id}/launch")], check)
