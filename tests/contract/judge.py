"""What is right to answer: by the API's own document, and by what RFC 9457 and this project say of refusals."""

import re
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from models.scans.outcomes import REFUSALS
from tests.contract.examples import Operation
from tests.contract.wire import Answer
from web.app import application
from web.http.problems import PROBLEM_JSON
from web.openapi.document import document

DECISIONS = REFUSALS.keys() - {"session_ended", "unknown_code", "bad_token", "client_scan_id_reused"}
"""A scan that doesn't count is kept all the same, with the reason; but for these, which are none."""

OF_ANY_REQUEST = {"406", "408", "414", "431"}
"""What may be wrong with a request whatever it asks for, so that no operation says it of itself."""

MEMBERS = {"type": str, "title": str, "status": int, "code": str, "request_id": str}


@cache
def api() -> dict[str, Any]:
    """The document."""
    return document(application)


def operations() -> list[Operation]:
    """Everything that it says can be done."""
    return [(method.upper(), path) for path, item in api()["paths"].items() for method in item]


def declared(operation: Operation) -> dict[str, Any]:
    """What it says of one operation."""
    method, path = operation
    found: dict[str, Any] = api()["paths"][path][method.lower()]
    return found


def is_public(operation: Operation) -> bool:
    """Whether nobody has to be signed in."""
    return {} in declared(operation)["security"] or not declared(operation)["security"]


def body_schema(operation: Operation) -> dict[str, Any] | None:
    """The schema of the body, if it takes one."""
    content = declared(operation).get("requestBody", {}).get("content", {})
    return content.get("application/json", {}).get("schema")


@cache
def _validator(reference: str) -> Draft202012Validator:
    schema = {"$ref": reference, "components": api()["components"]}
    return Draft202012Validator(schema, validate_formats=True)


def fits(operation: Operation, body: Any) -> bool:
    """Whether the document's schema allows this body."""
    schema = body_schema(operation)
    assert schema is not None
    return bool(_validator(schema["$ref"]).is_valid(body))


def fits_parameter(operation: Operation, name: str, text: str) -> bool:
    """Whether the document allows this text for this parameter."""
    is_integer, validator = _parameter(operation, name)
    value: Any = int(text) if is_integer and _INTEGER.fullmatch(text) else text
    return bool(validator.is_valid(value))


@cache
def _parameter(operation: Operation, name: str) -> tuple[bool, Draft202012Validator]:
    """Whether it is an integer, and what knows all that it may be."""
    schema = next(p["schema"] for p in declared(operation)["parameters"] if p["name"] == name)
    validator = Draft202012Validator(schema | {"components": api()["components"]}, validate_formats=True)
    return schema.get("type") == "integer", validator


_INTEGER = re.compile(r"-?(0|[1-9][0-9]{,99})")


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema in place of a reference to it."""
    reference = schema.get("$ref")
    return api()["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema


def faults(answer: Answer) -> list[str]:
    """What is wrong with it as an answer to anything hostile: it has to be a refusal, and a whole problem document."""
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
        found.append(f"says {document['status']} and is {answer.status}")
    if document["request_id"] != answer.headers.get("x-request-id"):
        found.append(f"is request {answer.headers.get('x-request-id')} and says {document['request_id']}")
    if answer.status == 401 and "www-authenticate" not in answer.headers:
        found.append("401 without WWW-Authenticate")
    if answer.status == 429 and "retry-after" not in answer.headers:
        found.append("429 without Retry-After")
    return found


def undeclared(operation: Operation, answer: Answer) -> list[str]:
    """The status, if the document doesn't know that this operation answers with it."""
    known = declared(operation)["responses"].keys() | OF_ANY_REQUEST
    return [] if str(answer.status) in known else [f"{answer.status} {answer.code} is not in the document"]


def is_kept(answer: Answer) -> bool:
    """Whether something is meant to be written."""
    return answer.status < 300 or answer.code in DECISIONS


def names(answer: Answer, field: str) -> bool:
    """Whether the problem names this field, or a part of it. Keys that the client made up are `[...]`."""
    same = (field, f"{field.rpartition('.')[0]}[...]")
    return any(named in same or named.startswith((f"{field}.", f"{field}[")) for named in answer.fields)
