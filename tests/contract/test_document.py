"""The document is true: what it allows and what it doesn't, generated from it, gets the answers that it tells."""

from copy import deepcopy
from functools import cache
from urllib.parse import urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests import Request as Sent
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.examples import EXAMPLES
from tests.contract.judge import OF_ANY_REQUEST, api, declared, operations
from tests.contract.wire import Request

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BASE = "http://api.example"

few = settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@cache
def schema():
    """The document with "any other error" only where any request may be wrong: it would let all answers pass."""
    strict = deepcopy(api())
    for item in strict["paths"].values():
        for operation in item.values():
            other = operation["responses"].pop("default")
            operation["responses"] |= dict.fromkeys(OF_ANY_REQUEST, other)
    return schemathesis.openapi.from_dict(strict)


def exchange(wire, case, address):
    """Send a generated case as it is."""
    sent = Sent(**case.as_transport_kwargs(base_url=BASE)).prepare()
    url = urlsplit(sent.url)
    target = f"{url.path}?{url.query}" if url.query else url.path
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    request = Request(sent.method, target, tuple(sent.headers.items()), body, address=address)
    answer = wire.send(request)
    assert answer.crash is None
    headers = {name: [value] for name, value in answer.headers.items()}
    return Response(answer.status, headers, answer.body, sent, elapsed=0.0, verify=False)


def can_be_wrong(operation):
    """Whether anything in its requests has a type that something else could be in place of."""
    found = declared(operation)
    return "requestBody" in found or any(p["in"] == "query" or "format" in p["schema"] for p in found["parameters"])


RIGHT = [(operation, GenerationMode.POSITIVE) for operation in operations()]
WRONG = [(operation, GenerationMode.NEGATIVE) for operation in operations() if can_be_wrong(operation)]


@pytest.mark.parametrize(
    ("operation", "mode"), RIGHT + WRONG, ids=[" ".join((*operation, str(mode))) for operation, mode in RIGHT + WRONG]
)
def test_answers_are_as_the_document_says(operation, mode, world, wire):
    method, path = operation
    example = EXAMPLES[operation](world)
    known = {name: str(value) for name, value in example.path.items()} if mode.is_positive else None
    headers = {"Authorization": f"Bearer {example.caller.token}"} if example.caller.token else None
    cases = schema()[path][method].as_strategy(generation_mode=mode, path_parameters=known, headers=headers)

    @few
    @given(cases)
    def check(case):
        case.validate_response(exchange(wire, case, example.address), checks=CHECKS)

    check()
    # A change of the brand that is right may shut its people out of it, and the next tests are about more than that.
    world.demand_no_second_factor()
