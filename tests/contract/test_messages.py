"""Whole bodies that are none, and header fields that say something else than the body is."""

import gzip
import json
from dataclasses import replace

import pytest

from settings import settings
from tests.contract.examples import EXAMPLES
from tests.contract.judge import body_schema, declared, faults, operations
from tests.contract.wire import Request

LIMIT = settings.max_body_bytes
LARGE = b'{"a":"' + b"x" * (10 << 20) + b'"}'


def refused_bodies(body: bytes):
    """Bodies made of a right one, and the only statuses that are right for them."""
    yield "empty", b"", (400,)
    yield "white space", b" \r\n\t ", (400,)
    yield "NUL", b"\0", (400,)
    yield "binary", bytes(range(256)), (400,)
    yield "null", b"null", (422,)
    yield "a number", b"1", (422,)
    yield "a string", b'"a"', (422,)
    yield "an array", b"[" + body + b"]", (422,)
    yield "two documents", body + b"\n" + body, (400,)
    yield "something behind it", body + b"x", (400,)
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
    yield "as many keys as go in", b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}", (422,)
    yield "as many items as go in", b"[" + b"0," * (LIMIT // 2 - 2) + b"0]", (422,)
    yield "a number as long as goes in", b"9" * LIMIT, (400,)
    yield "a fraction as long as goes in", b'{"a": 0.' + b"9" * (LIMIT - 20) + b"}", (400, 422)
    yield "a string as long as goes in", b'"' + b"\\u0041" * ((LIMIT - 2) // 6) + b'"', (422,)


def refused_messages(request: Request):
    """The right request with other words about its body."""
    body = request.body

    def told(*headers, parts=(body,), cut=False, drop=()):
        said = request.with_headers(*headers, without=drop)
        return replace(said, body=parts[0], more=tuple(parts[1:]), cut=cut)

    def typed(content_type):
        return told(("Content-Type", content_type))

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
    yield "no content type", told(drop=["Content-Type"]), (415,)
    for coding in ("gzip", "deflate", "br", "zstd", "x", "gzip, gzip", "identity, gzip"):
        yield f"encoded as {coding}", told(("Content-Encoding", coding)), (415,)
    yield "gzip that is", told(("Content-Encoding", "gzip"), parts=[gzip.compress(body)]), (415,)
    for length in ("-1", "1.5", "1e3", "abc", "0x10", " ", "+5", "1_0", "٣", "9" * 30, "1, 2"):
        yield f"length {length!r}", told(("Content-Length", length.encode())), (400, 413)
    yield "announces too much", told(("Content-Length", str(LIMIT + 1))), (413,)
    yield "announces 2**64", told(("Content-Length", str(2**64))), (413,)
    yield "10 MB", told(("Content-Length", str(len(LARGE))), parts=[LARGE]), (413,)
    yield "10 MB in chunks", told(chunked, parts=chunks(LARGE), drop=["Content-Length"]), (413,)
    yield "endless chunks", told(chunked, parts=[b" " * 1000] * 1000, drop=["Content-Length"]), (413,)
    yield "announces more than comes", told(("Content-Length", str(len(body) + 1)), cut=True), (400,)
    yield "goes away", told(parts=[body[:3]], cut=True), (400,)
    yield "goes away in chunks", told(chunked, parts=[body[:3]], cut=True, drop=["Content-Length"]), (400,)
    yield "goes away before the end of its chunks", told(chunked, cut=True, drop=["Content-Length"]), (400,)
    yield "gzip in chunks", told(("Transfer-Encoding", "gzip, chunked"), drop=["Content-Length"]), (415,)
    yield "goes away before the body", told(parts=[b""], cut=True), (400,)


def chunks(body: bytes) -> list[bytes]:
    return [body[start : start + 65_536] for start in range(0, len(body), 65_536)]


TAKING_BODIES = [operation for operation in operations() if body_schema(operation)]


@pytest.mark.parametrize("operation", TAKING_BODIES, ids=" ".join)
def test_a_body_that_is_none_is_refused_and_changes_nothing(operation, world, wire, traces):
    example = EXAMPLES[operation](world)
    before, right = traces.look(), example.request()
    cases = [(name, example.request(raw=raw), statuses) for name, raw, statuses in refused_bodies(right.body)]
    if not declared(operation)["requestBody"]["required"]:
        cases = [case for case in cases if case[1].body]

    wrong = complaints(wire, [*cases, *refused_messages(right)])

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []


def complaints(wire, cases):
    """What is wrong with the answers to them."""
    answers = wire.send_all([request for _, request, _ in cases])
    found = []
    for (name, _, statuses), answer in zip(cases, answers, strict=True):
        bad = faults(answer) or (
            [] if answer.status in statuses else [f"{answer.status} {answer.code}, not {statuses}"]
        )
        found += [f"{name}: {fault}" for fault in bad]
    return found


@pytest.mark.parametrize("operation", TAKING_BODIES, ids=" ".join)
def test_a_body_is_the_same_in_whatever_pieces_it_comes(operation, world, wire):
    right = EXAMPLES[operation](world).request()
    pieces = tuple(right.body[n : n + 1] for n in range(len(right.body)))
    chunked = right.with_headers(("Transfer-Encoding", "chunked"), without=["Content-Length"])

    answer = wire.send(replace(chunked, body=b"", more=(*pieces, b"")))

    assert answer.status < 300, answer.body


@pytest.mark.parametrize("operation", [o for o in operations() if o not in TAKING_BODIES], ids=" ".join)
def test_a_body_that_nobody_asked_for_is_not_read(operation, world, wire):
    right = EXAMPLES[operation](world).request()
    typed = right.with_headers(("Content-Type", "application/json"), ("Content-Length", str(len(LARGE))))
    before = declared(operation)["responses"]

    answer = wire.send(replace(typed, body=LARGE))

    assert str(answer.status) in before
    assert answer.status < 300
