"""Expected answers by the OpenAPI document, by RFC 9457, and by the rules of this project for refusals."""

import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from models.scans.outcomes import REFUSALS
from tests.contract.example import Operation
from tests.contract.raw_client import Answer
from web.app import application
from web.http.problems import PROBLEM_JSON
from web.openapi.document import document

REPRESENTATIVES: list[Operation] = [
    ("GET", "/api/v1/campaigns"),
    ("PUT", "/api/v1/campaigns/{campaign_id}"),
    ("POST", "/api/v1/qr/scan"),
]
"""Endpoints that represent all endpoints in tests of the framework.

A list with query and cursor; an audited change with path id, body and permission; an asynchronous endpoint without
a transaction of its own. `test_routes.py` checks that every route is built by `@endpoint`.
"""

DECISIONS = REFUSALS.keys() - {"session_ended", "unknown_code", "bad_token", "client_scan_id_reused"}
"""Refusal codes of scans that are stored with their reason. The subtracted codes store nothing."""

OF_ANY_REQUEST = {"406", "408", "414", "431"}
"""Statuses that any operation may return; the document does not list them per operation."""

MEMBERS = {"type": str, "title": str, "status": int, "code": str, "request_id": str}


def require_none(operations: Iterable[Operation], check: Callable[[Operation], Iterable[str]]) -> None:
    """Run a check for each operation. Fail with all faults that it found, each with its operation."""
    found = [f"{' '.join(operation)}: {fault}" for operation in operations for fault in check(operation)]
    if found:
        pytest.fail("\n".join(found), pytrace=False)


@cache
def api() -> dict[str, Any]:
    """Return the OpenAPI document."""
    return document(application)


def operations() -> list[Operation]:
    """Return all operations of the document."""
    return [(method.upper(), path) for path, item in api()["paths"].items() for method in item]


def declared(operation: Operation) -> dict[str, Any]:
    """Return the document's description of one operation."""
    method, path = operation
    found: dict[str, Any] = api()["paths"][path][method.lower()]
    return found


def is_public(operation: Operation) -> bool:
    """Return whether an operation accepts requests without an access token."""
    return {} in declared(operation)["security"] or not declared(operation)["security"]


def body_schema(operation: Operation) -> dict[str, Any] | None:
    """Return the schema of the body, or None if the operation takes no body."""
    content = declared(operation).get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema")


@cache
def _validator(reference: str) -> Draft202012Validator:
    return validator({"$ref": reference})


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Return the validator of a schema of the document."""
    return Draft202012Validator(schema | {"components": api()["components"]}, validate_formats=True)


def fits(operation: Operation, body: Any) -> bool:
    """Return whether the document's schema allows a body."""
    schema = body_schema(operation)
    assert schema is not None
    return bool(_validator(schema["$ref"]).is_valid(body))


def fits_parameter(operation: Operation, name: str, text: str) -> bool:
    """Return whether the document allows a text as the value of a parameter, or as one of its values."""
    kind, validator = _parameter(operation, name)
    value: Any = text
    if kind == "integer" and _INTEGER.fullmatch(text):
        value = int(text)
    elif kind == "boolean" and text in ("true", "false"):
        value = text == "true"
    return bool(validator.is_valid([value] if kind == "array" else value))


def is_repeatable(operation: Operation, name: str) -> bool:
    """Return whether a parameter may be given several times."""
    return _parameter(operation, name)[0] == "array"


@cache
def _parameter(operation: Operation, name: str) -> tuple[str | None, Draft202012Validator]:
    """Return the JSON type of a parameter, and the validator of its schema."""
    schema = next(p["schema"] for p in declared(operation)["parameters"] if p["name"] == name)
    validator = Draft202012Validator(schema | {"components": api()["components"]}, validate_formats=True)
    return schema.get("type"), validator


_INTEGER = re.compile(r"-?(0|[1-9][0-9]{,99})")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema that a reference names; any other schema unchanged."""
    reference = schema.get("$ref")
    return api()["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def resolved_answer(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answer that a reference names; any other answer unchanged."""
    reference = answer.get("$ref")
    return api()["components"]["responses"][reference.rpartition("/")[2]] if reference else answer


def faults(answer: Answer) -> list[str]:
    """Return the faults of an answer that has to be a 4xx with a complete problem document."""
    if answer.crash is not None:
        return [f"crashed: {answer.crash!r}"]
    if not 400 <= answer.status < 500:
        return [f"answered with {answer.status}: {answer.body[:300]!r}"]
    if answer.headers.get("content-type") != PROBLEM_JSON:
        return [f"{answer.status} as {answer.headers.get('content-type')}"]
    document = answer.json
    found = [
        f"{name}: {document.get(name)!r}" for name, kind in MEMBERS.items() if type(document.get(name)) is not kind
    ]
    if document["status"] != answer.status:
        found.append(f"status in the document is {document['status']}, status of the answer is {answer.status}")
    if document["request_id"] != answer.headers.get("x-request-id"):
        found.append(f"X-Request-Id is {answer.headers.get('x-request-id')}, request_id is {document['request_id']}")
    if answer.status == 401 and "www-authenticate" not in answer.headers:
        found.append("401 without WWW-Authenticate")
    if answer.status == 429 and "retry-after" not in answer.headers:
        found.append("429 without Retry-After")
    return found


def undeclared(operation: Operation, answer: Answer) -> list[str]:
    """Return a fault if the document does not list the answer's status for the operation."""
    known = declared(operation)["responses"].keys() | OF_ANY_REQUEST
    return [] if str(answer.status) in known else [f"{answer.status} {answer.code} is not in the document"]


def is_stored(answer: Answer) -> bool:
    """Return whether the request is meant to write to the database."""
    return answer.status < 300 or answer.code in DECISIONS


def names(answer: Answer, field: str, *others: str) -> bool:
    """Return whether the problem names a field, a part of it, or one of the others.

    `[...]` stands for keys that the client chose.
    """
    same = (field, f"{field.rpartition('.')[0]}[...]", *others)
    return any(named in same or named.startswith((f"{field}.", f"{field}[")) for named in answer.fields)
