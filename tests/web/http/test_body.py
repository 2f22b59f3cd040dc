"""Test the reading of bodies: limits of size and time, and JSON only."""

import asyncio
import dataclasses
import json
from contextlib import suppress

import msgspec
import pytest
from falcon import testing

from settings import settings
from web.app import create_app
from web.http import body
from web.http.endpoint import endpoint
from web.http.problems import TooSlow

LIMIT = 1000
JSON = {"Content-Type": "application/json"}


class Note(msgspec.Struct, forbid_unknown_fields=True):
    text: str = ""


class Notes:
    @endpoint(permission="public", body=Note, example={"text": "a"})
    def on_post(self, req, resp):
        resp.media = {"length": len(req.context.body.text)}


@pytest.fixture
def api(serve):
    return serve({"/notes": Notes()}, max_body_bytes=LIMIT)


def of_size(size):
    return b'{"text":"' + b"x" * (size - 11) + b'"}'


def test_body_of_exactly_the_limit_is_accepted(api):
    answer = api.post("/notes", body=of_size(LIMIT), headers=JSON)

    assert (answer.status_code, answer.json) == (200, {"length": LIMIT - 11})


def test_body_that_announces_more_than_the_limit_returns_413(api):
    answer = api.post("/notes", body=of_size(LIMIT + 1), headers=JSON)

    assert (answer.status_code, answer.json["code"]) == (413, "content_too_large")


def test_chunked_body_over_the_limit_returns_413(api):
    chunked = {**JSON, "Transfer-Encoding": "chunked", "Content-Length": ""}

    assert api.post("/notes", body=of_size(LIMIT), headers=chunked).status_code == 200
    assert api.post("/notes", body=of_size(LIMIT + 1), headers=chunked).status_code == 413


def test_byte_at_the_deadline_does_not_extend_it(monkeypatch):
    async def receive():
        with suppress(asyncio.CancelledError):  # as `asyncio.wait_for` does in that case
            await asyncio.sleep(3600)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def read():
        req = testing.create_asgi_req(headers=JSON)
        req._receive = receive
        await body.read_json_bytes(req, LIMIT)

    monkeypatch.setattr(body, "SECONDS", 0.01)
    with pytest.raises(TooSlow):
        asyncio.run(read())


@pytest.mark.parametrize(
    ("sizes", "seconds_apart", "is_refused"),
    [
        ([body.LEAST_BYTES] * 10, 1.9, False),
        ([100], 7.0, False),
        ([100] * 3, 5.0, True),
        ([body.LEAST_BYTES - 1] * 2, 5.0, True),
        ([body.LEAST_BYTES] * 5, 5.0, True),
        ([body.LEAST_BYTES, 1, 1], 5.0, True),
        ([body.LEAST_BYTES, body.LEAST_BYTES, 1], 5.0, False),
    ],
)
def test_body_slower_than_the_minimum_speed_returns_408(sizes, seconds_apart, is_refused):
    skipped, left = [0.0], list(sizes)

    def loop_with_its_own_clock():
        loop = asyncio.SelectorEventLoop()
        real = loop.time
        loop.time = lambda: real() + skipped[0]
        return loop

    async def receive():
        skipped[0] += seconds_apart
        for _ in range(3):
            await asyncio.sleep(0)  # timers that are due fire meanwhile
        part = b" " * left.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(left)}

    async def read():
        req = testing.create_asgi_req(headers=JSON)
        req._receive = receive
        return len(await body.read_json_bytes(req, 1_000_000))

    with asyncio.Runner(loop_factory=loop_with_its_own_clock) as runner:
        if is_refused:
            with pytest.raises(TooSlow):
                runner.run(read())
        else:
            assert runner.run(read()) == sum(sizes)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", 'Application/JSON;charset="UTF-8"', "application/json;"],
)
def test_json_in_utf8_is_accepted(api, content_type):
    assert api.post("/notes", body=b"{}", headers={"Content-Type": content_type}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "application/merge-patch+json"},
        {**JSON, "Content-Encoding": "gzip"},
    ],
)
def test_other_media_types_return_415(api, headers):
    answer = api.post("/notes", body=b"{}", headers=headers)

    assert (answer.status_code, answer.json["code"]) == (415, "unsupported_media_type")


def test_missing_body_returns_400(api):
    answer = api.post("/notes")

    assert (answer.status_code, answer.json["code"]) == (400, "malformed_json")


class Sent:
    """A request that the application receives from a server, in parts of any size."""

    def __init__(self, length, *chunks):
        headers = {**JSON, **({"Content-Length": length} if length else {"Transfer-Encoding": "chunked"})}
        self._scope = testing.create_scope(method="POST", path="/notes", headers=headers)
        self._events = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def to(self, app):
        answer = []

        async def receive():
            return self._events.pop(0) if self._events else {"type": "http.disconnect"}

        async def send(event):
            answer.append(event)

        await app(self._scope, receive, send)
        return answer[0]["status"], json.loads(answer[1]["body"])["code"]


@pytest.mark.parametrize("length", ["20", None])
def test_incomplete_body_returns_400(length):
    assert asyncio.run(Sent(length, b"{}", b" {").to(application())) == (400, "malformed_json")


@pytest.mark.parametrize("length", ["-1", "x", "1e3"])
def test_invalid_content_length_returns_400(length):
    assert asyncio.run(Sent(length, b"{}").to(application())) == (400, "bad_request")


def test_reading_stops_when_the_limit_is_exceeded():
    sent = Sent(None, *[b" " * 400] * 100)

    assert asyncio.run(sent.to(application())) == (413, "content_too_large")
    assert len(sent._events) == 97


def application():
    return create_app(
        dataclasses.replace(settings, max_body_bytes=LIMIT, log_level="WARNING"), None, [("/notes", Notes())]
    )
