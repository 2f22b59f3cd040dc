"""Test invalid access tokens with a Supabase project."""

import time
from collections.abc import Iterator

import pytest

from models.identity.jwks import FETCH_WINDOW, MAX_FETCHES
from tests.contract.examples import EXAMPLES
from tests.contract.expected import REPRESENTATIVES, faults, require_none
from tests.contract.raw_client import RawClient
from tests.contract.test_callers import AUTHORIZATIONS
from tests.contract.tokens import forged_of
from tests.fixtures.supabase import SupabaseProject
from tests.fixtures.web import Client, running


@pytest.fixture(scope="module")
def project() -> Iterator[SupabaseProject]:
    made = SupabaseProject()
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def elsewhere(project: SupabaseProject, database: str) -> Iterator[RawClient]:
    from web.app import create_app

    with running(create_app(project.config()), Client) as client:
        yield RawClient(client)


def test_forged_token_is_refused_and_creates_no_user(project, seed, elsewhere, writes):
    def check(operation):
        cases = forged_of(project)
        request = EXAMPLES[operation](seed).request()
        requests = [request.with_headers(("Authorization", f"Bearer {token}")) for _, token in cases]
        before = writes.snapshot()
        for (name, _), answer in zip(cases, elsewhere.send_all(requests), strict=True):
            yield from (f"{name}: {fault}" for fault in faults(answer))
            if answer.status != (403 if "in a role" in name or "in the role" in name else 401):
                yield f"{name}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)
    assert project.server.fetches <= MAX_FETCHES * (1 + (time.monotonic() - project.began) / FETCH_WINDOW)


def test_invalid_token_is_refused(seed, elsewhere, writes):
    def check(operation):
        request = EXAMPLES[operation](seed).request()
        requests = [request.with_headers(("Authorization", value)) for value in AUTHORIZATIONS]
        before = writes.snapshot()
        for value, answer in zip(AUTHORIZATIONS, elsewhere.send_all(requests), strict=True):
            yield from (f"{value[:40]!r}: {fault}" for fault in faults(answer))
            if answer.status != 401:
                yield f"{value[:40]!r}: {answer.status} {answer.code}"
        yield from writes.tables_changed_since(before)

    require_none(REPRESENTATIVES, check)
