"""Floods of requests that are work: what doesn't fit is refused at once, and nobody else waits for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from web import pool
from web.endpoint import endpoint

SLOW_CAPACITY = 1 + 4
"""Of the small application's pool for password hashing: one thread, and four that may wait."""


class Hashing:
    """Stands for a sign-in, as slow as the test wants it."""

    def __init__(self):
        self.goes_on = threading.Event()

    @endpoint(permission="public", slow=True, outward=True)
    def on_post(self, req, resp):
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


def test_sign_ins_that_do_not_fit_are_told_to_come_back_and_others_do_not_wait_for_those_that_do(serve, hashing):
    api = serve({"/hash": hashing, "/quick": Quick()})

    with ThreadPoolExecutor(40) as clients:
        flood = [clients.submit(api.post, "/hash") for _ in range(40)]
        refused = [answer.result() for answer in flood_that_ended(flood, 40 - SLOW_CAPACITY)]
        others = [api.get("/quick").status_code for _ in range(20)]
        hashing.goes_on.set()
        served = [answer.result() for answer in flood if answer.result().status_code == 200]

    assert {answer.status_code for answer in refused} == {503}
    assert {answer.json["code"] for answer in refused} == {"overloaded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert others == [200] * 20
    assert len(served) == SLOW_CAPACITY


def flood_that_ended(flood, count):
    """So many of these that have an answer, once they have it."""
    done = threading.Semaphore(0)
    ended = []
    for one in flood:
        one.add_done_callback(lambda it: (ended.append(it), done.release()))
    for _ in range(count):
        assert done.acquire(timeout=60)
    return ended[:count]


def test_who_has_waited_too_long_for_a_thread_is_told_to_come_back_rather_than_served_late(serve, hashing, monkeypatch):
    monkeypatch.setattr(pool, "WAIT_SECONDS", -1.0)
    api = serve({"/quick": Quick()})

    answer = api.get("/quick")

    assert (answer.status_code, answer.json["code"]) == (503, "overloaded")
