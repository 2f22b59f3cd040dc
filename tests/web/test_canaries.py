"""No secret and no personal data leave the web tier by a log, a measure or an error's answer."""

import json

import pytest

from tests.support.brokers import until
from tests.support.canaries import (
    CODE,
    EMAIL,
    JWT,
    LAT,
    LINK_TOKEN,
    LON,
    NEW_PASSWORD,
    PASSWORD,
    PERSON,
    PHONE,
    REFRESH_TOKEN,
    WORDS,
    found_in,
)
from tests.support.gunicorn import asking, gunicorn

FAILING = """
import asyncio, logging, threading

from models.core import context, database
from tests.support.canaries import PASSWORD, PERSON, WORDS
from web.app import create_app
from web.http.endpoint import endpoint
from web.v1 import ROUTES

STATEMENTS = [
    ("select %s::int", (PERSON["email"],)),
    ("select %s::uuid", (PASSWORD,)),
    ("select nothing, %s, %s", (PASSWORD, PERSON["phone"])),
    ("select %s || 1 / 0", (PASSWORD,)),
]


class Raises:
    async def on_get(self, req, resp, number):
        raise RuntimeError(WORDS[int(number)])


class Asks:
    @endpoint(permission="public")
    def on_get(self, req, resp, number):
        database.row(*STATEMENTS[int(number)])


class Logs:
    async def on_get(self, req, resp):
        log = logging.getLogger("canary")
        for words in WORDS:
            log.error("%s", words, extra={"person": PERSON, "list": [words], **{"password": PASSWORD}})
        asyncio.get_running_loop().call_exception_handler({"message": WORDS[0], "exception": ValueError(WORDS[1])})
        threading.Thread(target=self.die).start()

    def die(self):
        raise RuntimeError(WORDS[2])


failing = [("/raises/{number}", Raises()), ("/asks/{number}", Asks()), ("/logs", Logs())]
application = create_app(routes=[*ROUTES, *failing])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory, database):
    directory = tmp_path_factory.mktemp("server")
    (directory / "failing.py").write_text(FAILING)
    with gunicorn(directory, "failing:application", LOG_LEVEL="DEBUG") as running:
        yield running


def post(path, body, *headers):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = b"Content-Length: %d" % len(raw)
    return asking(b"POST " + path, b"Content-Type: application/json", length, *headers, body=raw)


SCAN = {
    "code": LINK_TOKEN,
    "client_scan_id": "0198a3f0-0000-7000-8000-00000000000a",
    "scanned_at": "2026-11-22T12:00:00Z",
    "location": {"lat": LAT, "lon": LON, "accuracy_m": 10, "captured_at": "2026-11-22T12:00:00Z"},
    "device": {"fingerprint": REFRESH_TOKEN},
}
BEARER = b"Authorization: Bearer " + JWT.encode()
QUERY = f"?email={EMAIL.replace('@', '%40')}&token={LINK_TOKEN}&password={PASSWORD}&code={CODE}".encode()
ASKED = {
    "a sign-up": post(b"/api/v1/auth/signup", {"email": EMAIL, "password": PASSWORD}),
    "a sign-up with more": post(b"/api/v1/auth/signup", PERSON),
    "a sign-in": post(b"/api/v1/auth/login", {"email": EMAIL, "password": PASSWORD}),
    "a sign-in with a number": post(b"/api/v1/auth/login", {"email": EMAIL, "password": [PASSWORD]}),
    "half a body": post(b"/api/v1/auth/login", json.dumps(PERSON)[:-9].encode()),
    "a link": post(b"/api/v1/auth/verify", {"token": LINK_TOKEN, "password": NEW_PASSWORD, "name": EMAIL}),
    "an invitation": post(b"/api/v1/auth/accept-invitation", {"token": LINK_TOKEN, "password": NEW_PASSWORD}),
    "a refresh": post(b"/api/v1/auth/refresh", {"refresh_token": REFRESH_TOKEN}),
    "a scan": post(b"/api/v1/qr/scan", SCAN),
    "a scan with a token": post(b"/api/v1/qr/scan", SCAN, BEARER),
    "a profile": post(b"/api/v1/users/me", {"phone": PHONE}, BEARER),
    "a query": asking(b"GET /api/v1/users/me" + QUERY, BEARER),
    "an unknown query": asking(b"GET /healthz" + QUERY),
    "a path": asking(b"GET /api/v1/jobs/" + REFRESH_TOKEN.encode(), BEARER),
    "a path to nowhere": asking(b"GET /" + EMAIL.encode() + b"/" + PASSWORD.encode()),
    "cookies": asking(b"GET /healthz", b"Cookie: session=" + JWT.encode()),
    "a key": post(b"/api/v1/auth/anonymous", {}, b"Idempotency-Key: " + REFRESH_TOKEN.encode()),
    "a client's name": asking(b"GET /nowhere", b"User-Agent: " + EMAIL.encode(), b"Referer: http://x/" + QUERY),
    "a bad header": asking(b"GET /healthz", b"X Y: " + JWT.encode()),
    "an id": asking(b"GET /healthz", b"X-Request-Id: " + EMAIL.encode()),
    **{f"an exception {n}": asking(b"GET /raises/%d" % n) for n in range(len(WORDS))},
    **{f"a statement {n}": asking(b"GET /asks/%d" % n) for n in range(4)},
}


@pytest.mark.parametrize("sent", ASKED.values(), ids=ASKED)
def test_no_answer_repeats_what_it_must_not(server, sent):
    status, head, body = server.talk(sent)

    assert status >= 200
    assert found_in(head + body.decode()) == []


def test_no_line_of_the_log_holds_any_of_it(server):
    for sent in (*ASKED.values(), asking(b"GET /logs")):
        server.talk(sent)
    server.talk(asking(b"GET /healthz", b"X-Request-Id: the-last-one-asked"))
    until(lambda: "the-last-one-asked" in server.log.read_text())
    text = server.log.read_text()

    assert "unhandled RuntimeError" in text
    assert text.count('"logger":"canary"') >= len(WORDS)
    assert [line for line in text.splitlines() if found_in(line)] == []


def test_measures_hold_none_of_it(server):
    for sent in ASKED.values():
        server.talk(sent)

    status, _, body = server.talk(asking(b"GET /metrics"))

    assert status == 200
    assert found_in(body.decode()) == []
