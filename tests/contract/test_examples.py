"""Test that each documented request succeeds, and that the document shows its recorded answer."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.contract.examples import DECLARED, EXAMPLES
from tests.contract.expected import api, declared, operations, require_none, resolved_answer, validator
from tests.contract.recorder import Recorder, dump, shape
from web.openapi.headers import HEADERS, OF_RECORDS
from web.openapi.recordings import FILE, recordings

RENEW = "./scripts/test tests/contract/test_examples.py --renew-examples"


@pytest.fixture(scope="module")
def answers(seed, raw_client):
    """Send the documented request of each operation. Lists are asked for without filters, which would empty them."""
    return {operation: raw_client.send(unfiltered(EXAMPLES[operation](seed)).request()) for operation in operations()}


def unfiltered(example):
    """Return the request without its optional parameters."""
    parameters = declared(example.operation)["parameters"]
    required = {parameter["name"] for parameter in parameters if parameter["required"]}
    return replace(example, query={name: value for name, value in example.query.items() if name in required})


@pytest.fixture(scope="module")
def recorded(answers, request):
    """Return the kept recordings by operation, renewed if this is asked for."""
    if request.config.getoption("--renew-examples"):
        new = {" ".join(operation): Recorder().record(answers[operation]) for operation in operations()}
        FILE.write_text(dump(new))
        recordings.cache_clear()
        api.cache_clear()
    return json.loads(FILE.read_text())


def answered_status(operation):
    """Return the status of a valid request. A request that waits for a job gets 202: no worker runs."""
    return 202 if DECLARED[operation].waits else DECLARED[operation].status


def test_documented_requests_succeed(answers):
    def check(operation):
        answer = answers[operation]
        if answer.crash is not None or answer.status != answered_status(operation):
            yield f"{answer.status}: {answer.crash or answer.body[:300]!r}"

    require_none(operations(), check)


def test_recorded_answers_name_nothing_of_the_tests(recorded):
    def check(operation):
        if "test." in (text := json.dumps(recorded.get(" ".join(operation)))):
            yield f"names an actor of the tests: {text[:300]}"

    require_none(operations(), check)


def test_recorded_answers_have_the_members_of_live_answers(answers, recorded):
    def check(operation):
        answer, kept = answers[operation], recorded.get(" ".join(operation))
        if kept is None:
            yield f"is not recorded: {RENEW}"
            return
        new = Recorder().record(answer)
        found = (kept["status"], sorted(kept["headers"]), shape(kept["body"]))
        if found != (new["status"], sorted(new["headers"]), shape(new["body"])):
            yield f"is recorded with other members: {RENEW}"

    assert set(recorded) == {" ".join(operation) for operation in operations()}, RENEW
    require_none(operations(), check)


def test_recorded_answers_match_their_schemas(recorded):
    def check(operation):
        kept = recorded[" ".join(operation)]
        content = declared(operation)["responses"][str(kept["status"])].get("content", {})
        for media, part in content.items():
            if media == "application/json":
                yield from (str(error)[:300] for error in validator(part["schema"]).iter_errors(kept["body"]))

    require_none(operations(), check)


def test_document_lists_the_headers_that_answers_have(answers):
    def check(operation):
        listed = declared(operation)["responses"][str(answered_status(operation))]["headers"]
        present: dict[str, Any] = answers[operation].headers
        for name in ("X-Request-Id", "RateLimit", "RateLimit-Policy", *OF_RECORDS):
            if (name in listed) != (name.lower() in present):
                yield f"{name} is {'not ' * (name.lower() not in present)}sent"

    require_none(operations(), check)


def test_document_lists_the_headers_that_refusals_have(seed, raw_client):
    def check(operation):
        answer = raw_client.send(EXAMPLES[operation](seed).request(query="unexpected=1"))
        listed = resolved_answer(declared(operation)["responses"][str(answer.status)])["headers"].keys()
        sent = {name for name in HEADERS if name.lower() in answer.headers}
        if answer.status != 422 or not {"X-Request-Id", "Content-Language"} <= sent <= listed:
            yield f"{answer.status} has {sorted(sent)}, and the document lists {sorted(listed)}"

    require_none(operations(), check)


def test_operations_with_a_version_answer_304_to_a_client_that_has_it(seed, raw_client):
    def check(operation):
        request = unfiltered(EXAMPLES[operation](seed)).request()
        answer = raw_client.send(request.with_headers(("If-None-Match", "*")))
        listed = declared(operation)["responses"]["304"]["headers"].keys()
        sent = {name for name in HEADERS if name.lower() in answer.headers}
        if answer.status != 304 or answer.body or not sent <= listed:
            yield f"{answer.status} has {sorted(sent)}, and the document lists {sorted(listed)}"

    versioned = [operation for operation in operations() if "304" in declared(operation)["responses"]]
    assert len(versioned) > 5
    require_none(versioned, check)
