"""Generate the catalogue of errors: each code with its titles, members and operations."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from models.core.errors import REGISTRY, Members, Problem
from models.identity.step_up import RecentAuthenticationRequired
from web.http.endpoint_spec import EndpointSpec
from web.http.idempotency import KeyReused
from web.http.problems import SignInIsElsewhere
from web.http.translations import SPANISH, title

Operation = tuple[str, str]
"""Method and path."""

RENEW = "./scripts/test tests/web/openapi/test_error_catalogue.py --renew-errors"

ANY_OPERATION = frozenset(
    {
        *("bad_request", "malformed_json", "unauthenticated", "account_closed", "account_suspended"),
        *("api_key_invalid", "session_ended", "forbidden", "mfa_required", "legacy_token", "unknown_role"),
        *("email_of_other_account", "not_found", "method_not_allowed", "not_acceptable", "request_timeout"),
        *("conflict", "content_too_large", "uri_too_long", "unsupported_media_type", "misdirected_request", "invalid"),
        *("rate_limited", "headers_too_large", "internal", "unavailable", "overloaded"),
    }
)
"""Codes that do not depend on the operation: of the request itself, the caller's session, limits, and failures."""

INTERNAL = frozenset(
    {
        "already_linked",
        *("audit_chain_has_moved", "audit_checkpoint_invalid", "audit_checkpoint_not_next", "audit_entries_differ"),
        *("audit_is_append_only", "audit_seal_invalid", "audit_start_invalid", "consent_events_are_append_only"),
        *("group_is_over", "mail_undeliverable", "no_such_group", "not_in_a_group", "notice_is_published"),
        *("already_uploaded", "call_denied", "consent_missing", "stale_fence"),
        *("not_granted", "per_user_limit", "reservation_expired", "reservation_suspended", "sold_out"),
        *("unknown_campaign", "unknown_reservation", "unknown_reward"),
    }
)
"""Codes that jobs, commands, signed uploads and the database use. No operation of the document answers with one."""

_HEAD = f"""# Errors

Generated from the registry of errors (`models/core/errors.py`), its Spanish texts and the endpoint specs. A test
compares this page with them. After a change: `{RENEW}`.

Every error is a problem document (RFC 9457) with the media type `application/problem+json`:

- `code` is stable. Programs compare it, and nothing else. A new code may appear in any version.
- `type` is the URL of the code's description: `/docs/errors#` and the code.
- `title`, `detail` and `reason` are for people. `Accept-Language` chooses English or Spanish; `Content-Language` names
  the language of the answer. A detail that exists in English only is left out of a Spanish answer.
- `errors` (of `invalid` and other codes of status 422) names every invalid field of the body and of the query at once,
  up to 50. Rules that need the whole request, such as the strength of a password, are checked once its fields are
  valid.
- `request_id` identifies the request in the logs: name it to support.
- Other members belong to single codes, and are listed there.
- After 429 and 503, send the request again after the seconds in `Retry-After`.
"""


@dataclass(frozen=True, slots=True)
class Member:
    """A further member of a problem document. `name` ends in `?` if it may be absent."""

    name: str
    type: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """The description of one code."""

    code: str
    status: int
    title: str
    title_in_spanish: str
    meaning: str
    members: tuple[Member, ...]
    source: str


def entries(specs: Mapping[Operation, EndpointSpec]) -> list[Entry]:
    """Return the description of every code, by status."""
    return [
        Entry(
            code=code,
            status=known.status,
            title=known.title,
            title_in_spanish=title(code, known.title, SPANISH),
            meaning=_meaning(code),
            members=tuple(_members(Problem.class_of(code).members)),
            source=_source(code, specs),
        )
        for code, known in REGISTRY.items()
    ]


def page(specs: Mapping[Operation, EndpointSpec]) -> str:
    """Return the page as Markdown."""
    parts, status = [_HEAD], 0
    for entry in entries(specs):
        if entry.status != status:
            status = entry.status
            parts.append(f"## {status}\n")
        parts.append(_section(entry))
    return "\n".join(parts)


def _section(entry: Entry) -> str:
    lines = [f"### `{entry.code}`\n", f"{entry.title}. *{entry.title_in_spanish}.*\n"]
    if entry.meaning:
        lines.append(f"{entry.meaning}\n")
    if entry.members:
        lines += ["| member | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| `{member.name}` | {member.type} | {member.meaning} |" for member in entry.members]
        lines.append("")
    lines.append(f"{entry.source}\n")
    return "\n".join(lines)


def _meaning(code: str) -> str:
    """Return the first paragraph of the docstring of the code's own class; empty if it has none, or it is the title."""
    kind = Problem.class_of(code)
    if kind is Problem or kind.code != code or not vars(kind).get("__doc__"):
        return ""
    meaning = " ".join((inspect.getdoc(kind) or "").split("\n\n")[0].split())
    return "" if meaning.rstrip(".") == REGISTRY[code].title else meaning


def _members(kind: type[Members]) -> Iterator[Member]:
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    own = parts[schema["$ref"]]
    for name, part in own.get("properties", {}).items():
        meaning = part.get("description", "")
        if example := next(iter(part.get("examples", ())), None):
            meaning += f" Example: `{msgspec.json.encode(example).decode()}`."
        optional = "" if name in own.get("required", ()) or part.get("default") == [] else "?"
        yield Member(name + optional, _type_of(part, parts), meaning)


def _type_of(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_of(option, parts) for option in schema["anyOf"])
    if "$ref" in schema:
        return _type_of(parts[schema["$ref"]], parts)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type_of(schema['items'], parts)}"
    if schema.get("type") == "object":
        return "object with " + ", ".join(f"`{name}`" for name in schema["properties"])
    return str(schema.get("format") or schema.get("type", "any"))


def _source(code: str, specs: Mapping[Operation, EndpointSpec]) -> str:
    """Return a sentence about the operations that answer with a code."""
    if code in ANY_OPERATION:
        return "Any operation."
    if code in INTERNAL:
        return "No operation: jobs, commands, signed uploads and the database use it."
    found = sorted(operation for operation, declared in specs.items() if _answers(code, declared))
    return "Operations: " + ", ".join(f"`{method} {path}`" for method, path in found) + "."


def _answers(code: str, declared: EndpointSpec) -> bool:
    by_option = {
        KeyReused.code: declared.idempotent,
        RecentAuthenticationRequired.code: declared.recent,
        SignInIsElsewhere.code: declared.own_sign_in,
    }
    return by_option.get(code, False) or any(kind.code == code for kind in declared.problems)
