"""Test floods of slow requests: excess requests are refused, and other requests are not delayed."""

import threading
import typing
from concurrent.futures import ThreadPoolExecutor

import pytest

from web.http import thread_pool
from web.http.endpoint import endpoint
from web.http.fields import NewPassword
from web.v1 import ROUTES

SLOW_CAPACITY = 1 + 4
"""Capacity of the small application's pool for password hashing: one running call and four queued calls."""


class Hashing:
    """A substitute for a sign-in. It lasts until the test releases it."""

    def __init__(self):
        self.goes_on, self.entered, self.calls = threading.Event(), threading.Event(), 0

    @endpoint(permission="public", slow=True, outward=True)
    def on_post(self, req, resp):
        self.calls += 1
        self.entered.set()
        assert self.goes_on.wait(60)
        resp.media = {"done": True}


class Quick:
    @endpoint(permission="public")
    def on_get(self, req, resp):
        resp.media = {"done": True}


@pytest.fixture
def hashing():
    made = Hashing()
    yield made
    made.goes_on.set()


def test_full_slow_pool_returns_503_and_delays_no_other_request(serve, hashing):
    api = serve({"/hash": hashing, "/quick": Quick()})

    with ThreadPoolExecutor(40) as clients:
        flood = [clients.submit(api.post, "/hash") for _ in range(40)]
        refused = [answer.result() for answer in first_finished(flood, 40 - SLOW_CAPACITY)]
        others = [api.get("/quick").status_code for _ in range(20)]
        hashing.goes_on.set()
        served = [answer.result() for answer in flood if answer.result().status_code == 200]

    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json["code"] for answer in refused} == {"overloaded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert others == [200] * 20
    assert len(served) == SLOW_CAPACITY


def first_finished(flood, count):
    """Wait until this number of requests has an answer, and return them."""
    done = threading.Semaphore(0)
    ended = []
    for one in flood:
        one.add_done_callback(lambda it: (ended.append(it), done.release()))
    for _ in range(count):
        assert done.acquire(timeout=60)
    return ended[:count]


def test_blocked_pool_returns_503_after_the_wait(serve, hashing, monkeypatch):
    api = serve({"/hash": hashing})

    with ThreadPoolExecutor(2) as clients:
        stuck = clients.submit(api.post, "/hash")
        assert hashing.entered.wait(60)
        monkeypatch.setattr(thread_pool, "WAIT_SECONDS", 0.05)
        answer = api.post("/hash")
        hashing.goes_on.set()

    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
    assert stuck.result().status_code == 200
    assert hashing.calls == 1


class Choice(Hashing):
    """A substitute for a new password whose breach look-up gets no answer."""

    @endpoint(permission="public", slow=True, outward=True, chooses_password=True)
    def on_post(self, req, resp):
        self.entered.set()
        assert self.goes_on.wait(60)
        resp.media = {"done": True}


def test_sign_in_does_not_wait_for_new_passwords(serve, hashing):
    choice = Choice()
    hashing.goes_on.set()
    api = serve({"/choice": choice, "/hash": hashing})

    with ThreadPoolExecutor(2) as clients:
        stuck = [clients.submit(api.post, "/choice") for _ in range(2)]
        assert choice.entered.wait(60)
        answer = api.post("/hash")
        choice.goes_on.set()

    assert answer.status_code == 200
    assert [one.result().status_code for one in stuck] == [200, 200]


def has_new_password(body):
    if not isinstance(body, type):  # an annotated union of structs
        return any(has_new_password(part) for part in typing.get_args(typing.get_args(body)[0]))
    hints = typing.get_type_hints(body, include_extras=True)
    return any(hint == NewPassword or NewPassword in typing.get_args(hint) for hint in hints.values())


def test_endpoints_that_set_a_password_run_in_their_own_pool():
    responders = [getattr(resource, name) for _, resource in ROUTES for name in dir(resource) if name.startswith("on_")]
    declared = [one.spec for one in responders if hasattr(one, "spec")]
    choosing = [one for one in declared if one.body and has_new_password(one.body)]

    assert choosing
    assert [one.body.__name__ for one in choosing if not one.chooses_password] == []
