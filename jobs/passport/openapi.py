"""Write the OpenAPI document of a service from its contract: the description for authors of an HTTP implementation."""

import inspect
from typing import Any

import msgspec

from jobs.passport.contract import KEY_REUSED, Operation, Service
from models.core.errors import REGISTRY

VERSION = "1.0.0"
"""Version of the protocol (`/v1/`)."""

_REFS = "#/components/schemas/{name}"
_PROBLEM: dict[str, Any] = {
    "title": "Problem",
    "description": "Refusal of a call (RFC 9457).",
    "type": "object",
    "required": ["code"],
    "properties": {
        "code": {"type": "string", "description": "Reason of the refusal."},
        "detail": {"type": "string", "description": "Explanation for people."},
        "status": {"type": "integer", "description": "HTTP status."},
        "title": {"type": "string", "description": "Meaning of the code."},
    },
}
_HEADERS = (
    ("Idempotency-Key", "Key of the call. Repeat the first answer if it is known; its effect happens once."),
    ("Content-Digest", "SHA-256 of the body (RFC 9530)."),
    ("Signature-Input", "Components and parameters of the signature with label and tag `companon` (RFC 9421)."),
    ("Signature", "HMAC-SHA256 signature (RFC 9421)."),
)


def document(service: Service, description: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of a service."""
    types = [kind for operation in service.operations for kind in (operation.request, operation.answer)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFS)
    shown = iter(schemas)
    paths = {
        f"/v1/{operation.name}": {"post": _operation(operation, next(shown), next(shown))}
        for operation in service.operations
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": service.name, "version": VERSION, "description": inspect.cleandoc(description)},
        "paths": paths,
        "components": {"schemas": {**dict(sorted(components.items())), "Problem": _PROBLEM}},
    }


def _operation(operation: Operation, request: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    statuses: dict[int, list[str]] = {}
    for code in (*operation.refusals, KEY_REUSED):
        statuses.setdefault(REGISTRY[code].status, []).append(code)
    refusals = {str(status): _refusal(codes) for status, codes in sorted(statuses.items())}
    return {
        "operationId": operation.name,
        "description": inspect.getdoc(operation.request) or operation.name,
        "x-timeout-seconds": operation.timeout,
        "parameters": [
            {"name": name, "in": "header", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in _HEADERS
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "Answer.", "content": {"application/json": {"schema": answer}}},
            **refusals,
        },
    }


def _refusal(codes: list[str]) -> dict[str, Any]:
    schema = {
        "allOf": [{"$ref": _REFS.format(name="Problem")}, {"properties": {"code": {"enum": codes}}}],
    }
    meanings = "; ".join(f"`{code}`: {REGISTRY[code].title}" for code in codes)
    return {"description": meanings + ".", "content": {"application/problem+json": {"schema": schema}}}
