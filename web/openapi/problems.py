"""Schemas, examples and shared answers of errors, generated from the registry of errors.

Codes with the same further members share a schema, e.g. `InvalidProblem`; `Problem` is that of codes without any. So a
client in a typed language that compares `code` knows the members.
"""

from http import HTTPStatus
from typing import Any

import msgspec

from models.core.errors import REGISTRY, Members, Problem
from web.http.problems import PROBLEM_JSON, type_of
from web.openapi import headers
from web.openapi.examples import example_of
from web.openapi.schemas import SCHEMAS

Schema = dict[str, Any]

ERROR_CODE = "ErrorCode"
ANY_OTHER = "Error"
"""Name of the shared answer for errors that an operation does not list."""

_RESPONSES = "#/components/responses/"
_EXAMPLES = "#/components/examples/"
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}
"""Phrases of RFC 9110 that Python 3.11 has under older names."""

_OF_BODIES = {400: ["malformed_json"]}
"""Codes besides the general one that every operation with this status may answer with."""
_OF_ANY_CALLER = {401, 403}
"""Statuses with codes that any operation may answer with, besides the general one, e.g. `mfa_required`."""

_SPECIFIC = {410, 412, 428}
"""Statuses with which an operation answers for the reasons that it declares only."""

_MEMBERS: dict[str, Schema] = {
    "type": {
        "type": "string",
        "format": "uri",
        "description": "URL of the description of this kind of problem. Compare `code` instead.",
    },
    "title": {
        "type": "string",
        "description": "The kind of problem in one sentence, in the language of the answer.",
    },
    "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status."},
    "code": {"description": "Stable name of the kind of problem, for programs."},
    "detail": {
        "type": "string",
        "description": "This problem in words, in the language of the answer. Absent if the title says all.",
    },
    "request_id": {"type": "string", "description": "Id of the request, as in `X-Request-Id`. Name it to support."},
}
_REQUIRED = ["type", "title", "status", "code", "request_id"]


def phrase(status: int) -> str:
    """Return the phrase of a status by RFC 9110."""
    return _PHRASES.get(status) or HTTPStatus(status).phrase


def general_code(status: int) -> str:
    """Return the code of a status that names no particular problem."""
    return next(code for code, entry in REGISTRY.items() if entry.status == status)


def members_of(code: str) -> type[Members]:
    """Return the struct of the further members of a code."""
    return Problem.class_of(code).members


def add_schemas(components: dict[str, Schema]) -> None:
    """Add the schemas of all problems: one for each kind of members, and `ErrorCode`.

    Raises:
        TypeError: the components have another schema with one of the names.
    """
    for name, schema in _schemas().items():
        if components.setdefault(name, schema) != schema:
            raise TypeError(f"A problem and an endpoint have different schemas with the name `{name}`: rename one.")


def _schemas() -> dict[str, Schema]:
    codes: dict[type[Members], list[str]] = {}
    for code in REGISTRY:
        codes.setdefault(members_of(code), []).append(code)
    kinds = list(codes)
    _, parts = msgspec.json.schema_components(kinds, ref_template=SCHEMAS + "{name}")
    own = {kind: parts.pop(kind.__name__) for kind in kinds}
    found = {_name(kind): _schema(kind, codes[kind], own[kind]) for kind in kinds}
    found[ERROR_CODE] = {
        "type": "string",
        "title": ERROR_CODE,
        "description": "Codes of problems without further members.",
        "enum": codes[Members],
    }
    return {**parts, **found}


def _name(kind: type[Members]) -> str:
    return kind.__name__.removesuffix("Members") + "Problem" if kind is not Members else "Problem"


def _schema(kind: type[Members], codes: list[str], own: Schema) -> Schema:
    if kind is Members:
        code: Schema = {"$ref": SCHEMAS + ERROR_CODE}
        text = "An error (RFC 9457) whose code has no further members."
    else:
        code = {"const": codes[0], "type": "string"} if len(codes) == 1 else {"enum": codes, "type": "string"}
        text = f"An error (RFC 9457) with: {own['description'][:1].lower()}{own['description'][1:]}"
    return {
        "title": _name(kind),
        "type": "object",
        "description": text,
        "properties": _MEMBERS | {"code": code | _MEMBERS["code"]} | own.get("properties", {}),
        "required": _REQUIRED + own.get("required", []),
    }


def answer(status: int, kinds: tuple[type[Problem], ...] = ()) -> dict[str, Any]:
    """Return the answer of an operation with this error status.

    Args:
        status: of the answer.
        kinds: the problems with this status that are specific to the operation.
    """
    return _answer(status, [kind.code for kind in kinds]) if kinds else {"$ref": _RESPONSES + _response_name(status)}


def any_other() -> dict[str, Any]:
    """Return the answer for all errors that an operation does not list."""
    return {"$ref": _RESPONSES + ANY_OTHER}


def shared_answers(paths: dict[str, Any]) -> dict[str, Any]:
    """Return the shared answers that the operations refer to, by name."""
    answers = [one["responses"] for item in paths.values() for one in item.values()]
    used = {int(status) for found in answers for status, one in found.items() if status != "default" and "$ref" in one}
    other = {
        "description": "Any other error",
        "headers": headers.references({"X-Request-Id", "Content-Language", "Retry-After"}),
        "content": {PROBLEM_JSON: {"schema": {"$ref": SCHEMAS + _name(Members)}}},
    }
    return {_response_name(status): _answer(status, []) for status in sorted(used)} | {ANY_OTHER: other}


def _response_name(status: int) -> str:
    return "".join(word for word in phrase(status).replace("-", " ").split())


def _answer(status: int, codes: list[str]) -> dict[str, Any]:
    listed = list(dict.fromkeys([*codes, *_OF_BODIES.get(status, []), general_code(status)]))
    kinds = {members_of(code) for code in listed} | ({Members} if status in _OF_ANY_CALLER else set())
    references = [{"$ref": SCHEMAS + _name(kind)} for kind in sorted(kinds, key=_order)]
    return {
        "description": f"{phrase(status)}. " + _listed(listed),
        "headers": headers.references(_headers(status)),
        "content": {
            PROBLEM_JSON: {
                "schema": references[0] if len(references) == 1 else {"anyOf": references},
                "examples": {code: {"$ref": _EXAMPLES + code} for code in listed},
            }
        },
    }


def _order(kind: type[Members]) -> tuple[bool, str]:
    """Put the general schema last: clients that try one schema after another find the specific one."""
    return kind is Members, kind.__name__


def _listed(codes: list[str]) -> str:
    return " ".join(f"`{code}`: {REGISTRY[code].title}." for code in codes)


def _headers(status: int) -> set[str]:
    names = {"X-Request-Id", "Content-Language", "RateLimit", "RateLimit-Policy"}
    if status in (429, 503):
        names.add("Retry-After")
    if status == 401:
        names.add("WWW-Authenticate")
    return names


def add_examples(spec: dict[str, Any]) -> None:
    """Add an example for each code that an answer of the document shows."""
    answers = [
        *(found for item in spec["paths"].values() for one in item.values() for found in one["responses"].values()),
        *spec["components"]["responses"].values(),
    ]
    shown = {code for one in answers for code in one.get("content", {}).get(PROBLEM_JSON, {}).get("examples", ())}
    components, server = spec["components"]["schemas"], spec["servers"][0]["url"]
    spec["components"]["examples"] = {code: _example(code, components, server) for code in REGISTRY if code in shown}


def _example(code: str, components: dict[str, Schema], server: str) -> dict[str, Any]:
    entry, schema = REGISTRY[code], components[_name(members_of(code))]
    further = {name: part for name, part in schema["properties"].items() if name not in _MEMBERS}
    value = {
        "type": type_of(code, server),
        "title": entry.title,
        "status": entry.status,
        "code": code,
        "request_id": headers.HEADERS["X-Request-Id"]["example"],
        **{name: example_of(part, components) for name, part in further.items()},
    }
    return {"summary": entry.title, "value": value}
