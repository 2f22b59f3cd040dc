"""Paths: ids that are none, that nobody has, that somebody else has; and paths that lead nowhere."""

from uuid import UUID, uuid4

import pytest

from models.core.context import SYSTEM_ADMIN
from tests.contract.examples import EXAMPLES
from tests.contract.judge import faults, operations, undeclared
from tests.contract.values import words
from tests.contract.wire import Request

WITH_IDS = [operation for operation in operations() if "{" in operation[1]]

NOWHERE = [
    *words("/api /api/ /api/v1 /api/v1/ /api/v2/campaigns /api/v1/campaign /api/v1//campaigns /api/v1/campaigns/"),
    *words("/API/V1/CAMPAIGNS /api/v1/campaigns%2f /api/v1/%63ampaigns/x /static /static/ /static/../settings.py"),
    *words(
        "/static/%2e%2e/settings.py /static/..%2f..%2fsettings.py /.env /%00 /%ff%fe /%ed%a0%80 /% /%zz /;x=1 /a\\b * x"
    ),
    *words(
        "x:443 http://elsewhere.example/nowhere /{campaign_id} /api/v1/campaigns/{campaign_id} /s /s/ /s/%00 /s/x%20y"
    ),
    *("/\xff\xfe", "/é", "/" + "a/" * 1000),
]


def hostile_ids(right):
    """What stands in a URL where an id should, as it stands there."""
    yield from words(
        "x 0 -1 null undefined NaN %20 %00 %0a %ff %ed%a0%80 %2f .. %2e%2e % %zz {id} %7b%7d * '%20or%201=1 +"
    )
    yield from ("\xff", utf8("👾"), utf8("٣") * 32, "0" * 36, "-" * 36, "z" * 36, "x" * 3000, "9" * 3000)
    yield from (f"{right}{added}" for added in words("%00 %0a %20 ;a=1 %2f .json 0"))
    yield from (f"%00{right}", f"({right})", f"0x{right}", str(right)[:-1], str(right)[:-1] + "g")
    yield from (str(UUID(int=0)), str(UUID(int=2**128 - 1)), str(uuid4()))


def not_theirs(example, world, name):
    """What is there and somebody else's. Everything is a system admin's."""
    return [] if example.caller == world.callers[SYSTEM_ADMIN] else [str(world.foreign.get(name, "x"))]


def utf8(text):
    """As it is sent without being escaped."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize("operation", WITH_IDS, ids=" ".join)
def test_an_id_that_is_none_or_not_the_callers_is_not_found(operation, world, wire, traces):
    example, before, wrong = EXAMPLES[operation](world), traces.look(), []
    cases = [
        (f"{name}={value}", example.request(**{name: value}))
        for name, right in example.path.items()
        for value in (*hostile_ids(right), *not_theirs(example, world, name))
    ]

    for (name, _), answer in zip(cases, wire.send_all([request for _, request in cases]), strict=True):
        wrong += [f"{name}: {fault}" for fault in (*faults(answer), *undeclared(operation, answer))]
        if answer.status != 404 and answer.code != "bad_token":
            wrong.append(f"{name}: {answer.status} {answer.code}, not 404")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []


@pytest.mark.parametrize("operation", [o for o in WITH_IDS if "_id}" in o[1]], ids=" ".join)
def test_what_is_there_and_somebody_elses_is_refused_to_every_role(operation, world, wire, traces):
    example, before, wrong = EXAMPLES[operation](world), traces.look(), []
    theirs = {name: str(world.foreign[name]) for name in example.path}

    for role, caller in world.callers.items():
        if role == SYSTEM_ADMIN and operation[0] != "GET" and (example.caller == caller or "brand_id" in theirs):
            continue  # who may do it to whatever there is
        answer = wire.send(example.of(caller).request(**theirs))
        if role == SYSTEM_ADMIN and not {"api_key_id", "campaign_id", "consent_id", "session_id"} & theirs.keys():
            assert answer.status == 200  # they look after all brands, and all jobs
            continue
        wrong += [f"{role}: {fault}" for fault in faults(answer)]
        if answer.status not in (401, 403, 404):
            wrong.append(f"{role}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
    assert traces.since(before) == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "BREW"])
def test_a_path_that_leads_nowhere_is_not_found(method, wire):
    wrong = []

    for path in NOWHERE:
        answer = wire.send(Request(method, path))
        wrong += [f"{path[:40]}: {fault}" for fault in faults(answer)]
        if answer.status not in (400, 404, 405):
            wrong.append(f"{path[:40]}: {answer.status} {answer.code}")

    assert not wrong, "\n".join(wrong)
