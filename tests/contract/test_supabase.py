"""Tokens that are almost a Supabase project's, where one signs people in."""

import time
from collections.abc import Iterator

import pytest

from models.identity.jwks import FETCHES, PAUSE
from tests.contract.examples import EXAMPLES
from tests.contract.judge import faults
from tests.contract.test_callers import AUTHORIZATIONS
from tests.contract.tokens import forged_of
from tests.contract.wire import Wire
from tests.fixtures.supabase import SupabaseProject
from tests.fixtures.web import Client, running

OPERATIONS = [("GET", "/api/v1/users/me"), ("POST", "/api/v1/qr/scan"), ("GET", "/api/v1/campaigns")]
"""All are let in at one door; these are behind it in three ways: a transaction, a batch of many, a permission."""


@pytest.fixture(scope="module")
def project() -> Iterator[SupabaseProject]:
    made = SupabaseProject()
    yield made
    made.server.stop()


@pytest.fixture(scope="module")
def elsewhere(project: SupabaseProject, database: str) -> Iterator[Wire]:
    from web.app import create_app

    with running(create_app(project.config()), Client) as client:
        yield Wire(client)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_a_forged_token_is_refused_and_makes_nobody(operation, project, world, elsewhere, traces):
    example = EXAMPLES[operation](world)
    cases = forged_of(project)
    requests = [example.request().with_headers(("Authorization", f"Bearer {token}")) for _, token in cases]
    before, wrong = traces.look(), []

    for (name, _), answer in zip(cases, elsewhere.send_all(requests), strict=True):
        wrong += [f"{name}: {fault}" for fault in faults(answer)]
        if answer.status != (403 if "in a role" in name or "in the role" in name else 401):
            wrong.append(f"{name}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []
    assert project.server.fetches <= FETCHES * (1 + (time.monotonic() - project.began) / PAUSE)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_what_is_no_token_is_refused(operation, world, elsewhere, traces):
    request = EXAMPLES[operation](world).request()
    requests = [request.with_headers(("Authorization", value)) for value in AUTHORIZATIONS]
    before, wrong = traces.look(), []

    for value, answer in zip(AUTHORIZATIONS, elsewhere.send_all(requests), strict=True):
        wrong += [f"{value[:40]!r}: {fault}" for fault in faults(answer)]
        if answer.status != 401:
            wrong.append(f"{value[:40]!r}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []
