"""Test the permissions of roles, which are cached for all requests of a process."""

import asyncio

import pytest

from models.core.context import Identity
from web.http import grants
from web.http.grants import Grants
from web.http.thread_pool import ThreadPool


def identity(role):
    return Identity("web", "authenticated", {"app_metadata": {"user_role": role} if role else {}})


@pytest.fixture
def pool():
    pool = ThreadPool("test", 1, 4)
    pool.open()
    yield pool
    pool.close(10)


def decide(pool, table, *questions):
    """Return the decisions on pairs of role and permission, and the number of times that the table was read."""
    reads = []

    def read():
        reads.append(1)
        return frozenset(table)

    async def main():
        found = Grants(pool, read)
        return [await found.allow(identity(role), permission) for role, permission in questions]

    return asyncio.run(main()), len(reads)


def test_permission_of_another_role_is_not_granted(pool):
    table = {("Creator", "campaigns:read"), ("Fan", "consents:read")}

    answers, _ = decide(pool, table, ("Creator", "campaigns:read"), ("Fan", "campaigns:read"), (None, "campaigns:read"))

    assert answers == [True, False, False]


def test_permissions_are_read_once_until_they_are_too_old(pool, monkeypatch):
    question = ("Fan", "consents:read")

    assert decide(pool, {question}, question, ("Creator", "jobs:read"), question) == ([True, False, True], 1)
    monkeypatch.setattr(grants, "MAX_AGE", 0.0)
    assert decide(pool, {question}, question, question) == ([True, True], 2)
