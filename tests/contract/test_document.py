"""Test that answers to generated valid and invalid requests conform to the OpenAPI document."""

from copy import deepcopy
from functools import cache
from urllib.parse import urlsplit
from zlib import crc32

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests import Request as Sent
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from models.core.context import FAN, SYSTEM_ADMIN
from tests.contract.examples import EXAMPLES
from tests.contract.expected import OF_ANY_REQUEST, api, declared, operations
from tests.contract.raw_client import Request

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
BASE = "http://api.example"

few = settings(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
many = settings(few, max_examples=25)
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]


@cache
def schema():
    """Return the document without the default response, which would allow every answer."""
    strict = deepcopy(api())
    for item in strict["paths"].values():
        for operation in item.values():
            other = operation["responses"].pop("default")
            operation["responses"] |= dict.fromkeys(OF_ANY_REQUEST, other)
    return schemathesis.openapi.from_dict(strict)


def exchange(raw_client, case, address):
    """Send a generated case unchanged."""
    sent = Sent(**case.as_transport_kwargs(base_url=BASE)).prepare()
    sent.headers["Accept-Encoding"] = "identity"  # The check of schemas reads the body as it is.
    url = urlsplit(sent.url)
    target = f"{url.path}?{url.query}" if url.query else url.path
    body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
    request = Request(sent.method, target, tuple(sent.headers.items()), body, address=address)
    answer = raw_client.send(request)
    assert answer.crash is None
    headers = {name: [value] for name, value in answer.headers.items()}
    return Response(answer.status, headers, answer.body, sent, elapsed=0.0, verify=False)


def can_be_wrong(operation):
    """Return whether a request of the operation can be invalid: it has a body, a query or a typed path parameter."""
    found = declared(operation)
    return "requestBody" in found or any(p["in"] == "query" or "format" in p["schema"] for p in found["parameters"])


def conformance(operation, mode, seed, raw_client, *, examples=few, role=None):
    """Send generated requests of one operation, by default as a permitted caller. Compare answers with the document."""
    method, path = operation
    example = EXAMPLES[operation](seed)
    caller = seed.again(role) if role else example.caller
    known = {name: str(value) for name, value in example.path.items()} if mode.is_positive else None
    headers = {"Authorization": f"Bearer {caller.token}"} if caller.token else None
    cases = schema()[path][method].as_strategy(generation_mode=mode, path_parameters=known, headers=headers)

    @examples
    @given(cases)
    def check(case):
        case.validate_response(exchange(raw_client, case, example.address), checks=CHECKS)

    check()
    # A valid change of the brand may require MFA of its members, which would refuse them in the next operations.
    seed.demand_no_mfa()


def selected(mode, whole):
    """Return the operations to test: all, or for invalid requests without `whole` about a third of them."""
    if mode.is_positive:
        return operations()
    return [one for one in operations() if can_be_wrong(one) and (whole or crc32(" ".join(one).encode()) % 3 == 0)]


def require_conformance(mode, seed, raw_client, whole=True, **options):
    """Compare operations with the document. Fail with all differences."""
    failures = []
    for operation in selected(mode, whole):
        try:
            conformance(operation, mode, seed, raw_client, **options)
        except (Exception, FailureGroup) as failure:
            found = failure.exceptions if isinstance(failure, FailureGroup) else [failure]
            failures += [f"{' '.join(operation)}: {one!r}" for one in found]

    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_answers_conform_to_the_document(mode, seed, raw_client, request):
    require_conformance(mode, seed, raw_client, whole=request.config.getoption("--slow"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("role", ["Brand Admin", FAN, SYSTEM_ADMIN])
def test_answers_to_every_role_conform_to_the_document(role, mode, seed, raw_client):
    require_conformance(mode, seed, raw_client, examples=many, role=role)
