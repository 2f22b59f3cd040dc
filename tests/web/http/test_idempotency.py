"""Test `Idempotency-Key` with the real database: one execution, and the same answer to every repetition."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import msgspec
import pytest

from models.core import database
from models.core.errors import Conflict
from settings import settings
from tests.web.conftest import serving
from web.app import create_app
from web.http.endpoint import endpoint, etag

KEY = {"Idempotency-Key": "8e03978e-40d5-43e8-bc93-6894a57f9324"}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    item: str


class Orders:
    """Create orders, and count the calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.door = threading.Event()
        self.door.set()

    @endpoint(permission="public", body=Order, status=201, idempotent=True)
    def on_post(self, req, resp):
        self.calls += 1
        self.door.wait(5)
        if req.context.body.item == "sold out":
            raise Conflict("Sold out.")
        resp.location = f"/orders/{self.calls}"
        etag(resp, self.calls)
        resp.media = {
            "number": self.calls,
            "item": req.context.body.item,
            "backend": database.value("select pg_backend_pid()"),
        }

    @endpoint(permission="public", status=204, idempotent=True)
    def on_delete(self, req, resp):
        self.calls += 1

    @endpoint(permission="public", body=Order)
    def on_put(self, req, resp):
        self.calls += 1


@pytest.fixture
def orders():
    return Orders()


@pytest.fixture
def api(db_clean, orders):
    config = replace(settings, log_level="WARNING", trusted_proxies=1, web_threads=4)
    with ExitStack() as stack:
        yield stack.enter_context(serving(create_app(config, routes=[("/orders", orders), ("/others", orders)])))


def post(api, item="tea", headers=KEY, path="/orders", address="203.0.113.1"):
    return api.post(path, json={"item": item}, headers={**headers, "X-Forwarded-For": address})


def test_repeated_key_returns_the_first_answer(api, orders):
    first, second = post(api), post(api)

    assert orders.calls == 1
    assert (second.status_code, second.content) == (201, first.content)
    for header in ("location", "etag", "content-type"):
        assert second.headers[header] == first.headers[header]
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]


def test_repeated_key_returns_an_empty_first_answer(api, orders):
    answers = [api.delete("/orders", headers=KEY) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [204, 204]
    assert answers[1].headers["idempotent-replayed"] == "true"
    assert orders.calls == 1


def test_key_with_another_request_returns_422(api, orders):
    post(api)

    for answer in (post(api, item="coffee"), post(api, path="/others")):
        assert (answer.status_code, answer.json["code"]) == (422, "idempotency_key_reused")
    assert post(api).status_code == 201
    assert orders.calls == 1


def test_concurrent_requests_with_a_key_happen_once(api, orders):
    orders.door.clear()
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(post, api) for _ in range(3)]
        while not orders.calls:
            threading.Event().wait(0.001)
        orders.door.set()
        answers = [answer.result(60) for answer in answers]

    assert orders.calls == 1
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sorted("idempotent-replayed" in answer.headers for answer in answers) == [False, True, True]


def test_key_of_refused_request_can_be_used_again(api, orders):
    assert post(api, item="sold out").status_code == 409
    assert post(api, item="sold out").status_code == 409
    assert orders.calls == 2
    assert post(api, item="tea").status_code == 201


def test_key_of_another_client_is_independent(api, orders):
    post(api, address="203.0.113.1")
    other = post(api, address="203.0.113.2", item="coffee")

    assert other.status_code == 201
    assert other.json["number"] == 2


def test_requests_without_key_are_all_executed(api, orders):
    post(api, headers={})
    post(api, headers={})

    assert orders.calls == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "with space", "é", "a\tb"])
def test_invalid_key_returns_422_without_effect(api, orders, key):
    answer = post(api, headers={"Idempotency-Key": key})

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "Idempotency-Key")
    assert orders.calls == 0


def test_key_is_ignored_by_endpoints_without_support(api, orders):
    for _ in range(2):
        assert api.put("/orders", json={"item": "tea"}, headers=KEY).status_code == 200
    assert orders.calls == 2
