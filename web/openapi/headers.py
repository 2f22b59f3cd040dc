"""Response headers of the document, as shared components."""

from typing import Any

_REFERENCE = "#/components/headers/"

HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-Id": {
        "description": "Id of the request: that of the request's own `X-Request-Id`, or a new one. Name it to support.",
        "schema": {"type": "string"},
        "example": "0199f3a8-6c1e-7d5b-9d0a-3f1b2c4d5e6f",
    },
    "RateLimit": {
        "description": "The name of the limit that applies, the requests that remain (`r`) and the seconds until it is"
        " reset (`t`). Absent where no limit applies.",
        "schema": {"type": "string"},
        "example": '"person";r=1180;t=42',
    },
    "RateLimit-Policy": {
        "description": "The name of the limit that applies, its number of requests (`q`) and its window in seconds"
        " (`w`). Absent where no limit applies.",
        "schema": {"type": "string"},
        "example": '"person";q=1200;w=60',
    },
    "Retry-After": {
        "description": "Seconds to wait before the next request.",
        "schema": {"type": "integer", "minimum": 0},
        "example": 1,
    },
    "ETag": {
        "description": "Version of the record. Send it as `If-Match` with a change, or as `If-None-Match` with `GET`.",
        "schema": {"type": "string"},
        "example": '"3"',
    },
    "Location": {
        "description": "Path of the created record, or of the job that continues the work.",
        "schema": {"type": "string", "format": "uri-reference"},
        "example": "/api/v1/campaigns/0199f3a8-6c1e-7d5b-9d0a-3f1b2c4d5e6f",
    },
    "Idempotent-Replayed": {
        "description": "`true` if this is the stored answer to an earlier request with the same `Idempotency-Key`.",
        "schema": {"type": "string", "const": "true"},
        "example": "true",
    },
    "Content-Language": {
        "description": "Language of the texts for people: the best of `Accept-Language`, or English.",
        "schema": {"type": "string", "enum": ["en", "es"]},
        "example": "en",
    },
    "WWW-Authenticate": {
        "description": "How to authenticate.",
        "schema": {"type": "string"},
        "example": "Bearer",
    },
    "Deprecation": {
        "description": "Time since when the operation is deprecated (RFC 9745), in seconds since 1970 after `@`.",
        "schema": {"type": "string", "pattern": "^@[0-9]+$"},
        "example": "@1798761600",
    },
    "Sunset": {
        "description": "Time after which the operation may be gone (RFC 8594).",
        "schema": {"type": "string"},
        "example": "Fri, 31 Dec 2027 00:00:00 GMT",
    },
    "Link": {
        "description": 'The operation to use instead, with `rel="successor-version"` (RFC 8288).',
        "schema": {"type": "string"},
        "example": '</api/v2/campaigns>; rel="successor-version"',
    },
}
"""Header objects by name, in the order in which answers list them."""

OF_RECORDS = ("Location", "ETag", "Retry-After")
"""Headers that depend on the endpoint's code. The document lists those that the recorded answer has."""


def references(names: set[str]) -> dict[str, Any]:
    """Return references to these headers, in the order of `HEADERS`."""
    return {name: {"$ref": _REFERENCE + name} for name in HEADERS if name in names}


def keep_used(spec: dict[str, Any]) -> None:
    """Add the headers that an answer of the document refers to."""
    answers = [
        *(answer for item in spec["paths"].values() for one in item.values() for answer in one["responses"].values()),
        *spec["components"].get("responses", {}).values(),
    ]
    used = {name for answer in answers for name in answer.get("headers", {})}
    spec["components"]["headers"] = {name: header for name, header in HEADERS.items() if name in used}
