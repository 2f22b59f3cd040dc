"""Low-priority threads."""

import os
import threading

import pytest

from models.core import cpu_pool
from models.core.cpu_pool import NICENESS
from models.identity import passwords


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_pool_lowers_priority_of_its_threads_only():
    before = niceness()

    assert cpu_pool.run(niceness) == min(19, before + NICENESS)
    assert niceness() == before


def test_pool_returns_result_and_raises_error():
    assert cpu_pool.run(divmod, 7, 3) == (2, 1)
    with pytest.raises(ZeroDivisionError):
        cpu_pool.run(divmod, 7, 0)


def test_passwords_are_hashed_and_verified_in_pool(monkeypatch):
    seen = []

    class Hasher:
        def hash(self, password):
            seen.append(niceness())
            return "hashed"

        def verify(self, stored, password):
            seen.append(niceness())

    monkeypatch.setattr(passwords, "_hasher", Hasher())
    monkeypatch.setattr(passwords, "_dummy_hash", lambda: "nobody's")
    passwords.verify(passwords.hash("x"), "x")

    assert seen == [min(19, niceness() + NICENESS)] * 2
