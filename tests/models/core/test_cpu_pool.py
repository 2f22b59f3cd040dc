"""Work that takes the processor steps back for everybody else's."""

import os
import threading

import pytest

from models.core.cpu_pool import NICENESS, aside
from models.identity import passwords


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_what_is_done_aside_is_nicer_than_who_asks_and_nobody_else_gets_nicer():
    before = niceness()

    assert aside(niceness) == min(19, before + NICENESS)
    assert niceness() == before


def test_a_result_and_an_exception_come_back():
    assert aside(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        aside(divmod, 7, 0)


def test_passwords_are_hashed_and_verified_aside(monkeypatch):
    seen = []

    class Hasher:
        def hash(self, password):
            seen.append(niceness())
            return "hashed"

        def verify(self, stored, password):
            seen.append(niceness())

    monkeypatch.setattr(passwords, "_hasher", Hasher())
    monkeypatch.setattr(passwords, "_nobodys", lambda: "nobody's")
    passwords.verify(passwords.hash("x"), "x")

    assert seen == [min(19, niceness() + NICENESS)] * 2
