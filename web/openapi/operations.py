"""Complete one operation of spectree's document: security, parameters, body, answers and their headers."""

from typing import Any

from models.core.errors import Problem
from models.identity.step_up import RecentAuthenticationRequired
from web.http.endpoint_spec import AUTHENTICATED, GENERAL, JSON, OPTIONAL, PUBLIC, EndpointSpec
from web.http.idempotency import KeyReused
from web.http.problems import SignInIsElsewhere
from web.openapi import headers, problems
from web.openapi.comparison.operations import SUNSET
from web.openapi.recordings import Recording

ACCESS_TOKEN = "accessToken"
API_KEY = "apiKey"

SECURITY_SCHEMES: dict[str, Any] = {
    ACCESS_TOKEN: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "The `access_token` of a session: `POST /api/v1/auth/login` returns one.",
    },
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "cpk_…",
        "description": "An API key of a brand, sent like an access token. `POST /api/v1/api-keys` creates one. It acts"
        " for its brand within its scopes; operations about the caller's own account refuse it.",
    },
}

IF_NONE_MATCH: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "required": False,
    "description": "The `ETag` that you have. If the record has not changed since, the answer is 304 without a body.",
    "schema": {"type": "string", "examples": ['"3"']},
}

_IN_PATHS = {
    "name": "A name that `GET /api/v1/actors` lists.",
    "property_key": "The `key` of a property of `GET /api/v1/crm/properties`.",
    "process": "`relay`, `worker`, `clock` or `seal`.",
    "version_number": "The `version` of an entry of `GET /api/v1/campaigns/{campaign_id}/versions`.",
    "token": "The token of the code: the last part of its URL.",
}
"""Descriptions of path parameters other than ids."""


def complete(operation: dict[str, Any], declared: EndpointSpec, recorded: Recording | None) -> None:
    """Complete an operation in place."""
    operation["security"] = _security(declared)
    operation["description"] = "\n\n".join(filter(None, [operation["description"], *_notes(declared)]))
    _complete_body(operation, declared)
    if declared.deprecated_since:
        operation["deprecated"] = True
        if declared.sunset:
            operation[SUNSET] = declared.sunset.isoformat()
    own = {str(status): operation["responses"][str(status)] for status in (declared.status, *declared.other_responses)}
    for status, answer in own.items():
        _complete_answer(answer, int(status), declared, recorded)
    if recorded is not None and recorded.is_conditional:
        operation["parameters"].append(IF_NONE_MATCH | {"schema": dict(IF_NONE_MATCH["schema"])})
        own["304"] = {
            "description": "Not Modified: the version is the one of `If-None-Match`.",
            "headers": headers.references({"ETag"} | _headers(declared)),
        }
    refused = {str(status): _refusal(status, declared) for status in _refusals(operation, declared)}
    operation["responses"] = dict(sorted((refused | own).items())) | {"default": problems.any_other()}
    for parameter in operation["parameters"]:
        _complete_parameter(parameter)


def _security(declared: EndpointSpec) -> list[dict[str, list[str]]]:
    if declared.permission == PUBLIC:
        return []
    signed_in: list[dict[str, list[str]]] = [{ACCESS_TOKEN: []}]
    if declared.permission == OPTIONAL:
        return [{}, *signed_in]
    return [*signed_in, {API_KEY: []}] if declared.key_scope else signed_in


def _notes(declared: EndpointSpec) -> list[str]:
    """Return what callers should know about an operation, in the order of the checks."""
    notes = [_access(declared), _limits(declared)]
    if declared.before_mfa:
        notes.append("Also open to sessions that still need MFA.")
    if declared.recent:
        code = RecentAuthenticationRequired.code
        notes.append(f"Needs step-up within the last ten minutes; otherwise `{code}` (403).")
    if declared.own_sign_in:
        kind = SignInIsElsewhere
        notes.append(f"Where a Supabase project signs people in: `{kind.code}` ({kind.status}).")
    if declared.audit:
        notes.append(f"Recorded in the audit trail as `{declared.audit}`.")
    elif declared.refused_as:
        notes.append(f"Refusals are recorded in the audit trail as `{declared.refused_as}`.")
    if declared.problems:
        notes.append("Specific refusals: " + ", ".join(f"`{p.code}` ({p.status})" for p in declared.problems) + ".")
    return [*filter(None, notes), *_deprecation(declared)]


def _access(declared: EndpointSpec) -> str:
    permission, scope = declared.permission, declared.key_scope
    if permission == PUBLIC:
        return "Public: no access token needed."
    if permission == OPTIONAL:
        return "Public. An access token that is sent is verified, and identifies the caller."
    keys = f"An API key needs the scope `{scope}`." if scope else "API keys are refused."
    if permission == AUTHENTICATED:
        return f"Open to every signed-in caller. {keys}"
    return f"Needs the permission `{permission}`. {keys}"


def _limits(declared: EndpointSpec) -> str:
    if not declared.rate or declared.rate == GENERAL:
        return ""
    address = f", {declared.address_rate} for each address" if declared.address_rate else ""
    total = f", {declared.total_rate} for all callers together" if declared.total_rate else ""
    return f"Limited to {declared.rate} for each caller{address}{total}."


def _deprecation(declared: EndpointSpec) -> list[str]:
    if declared.deprecated_since is None:
        return []
    gone = f" It may be gone after {declared.sunset}." if declared.sunset else ""
    instead = f" Use `{declared.successor}` instead." if declared.successor else ""
    return [f"Deprecated since {declared.deprecated_since}.{gone}{instead}"]


def _complete_body(operation: dict[str, Any], declared: EndpointSpec) -> None:
    if "requestBody" in operation:
        operation["requestBody"]["required"] = not declared.body_optional
        if declared.example is not None:
            operation["requestBody"]["content"][JSON]["example"] = dict(declared.example)


def _complete_answer(answer: dict[str, Any], status: int, declared: EndpointSpec, recorded: Recording | None) -> None:
    answer["description"] = problems.phrase(status)
    names = _headers(declared)
    if declared.media != JSON and status == declared.status:
        answer["content"] = {declared.media: {"schema": _schema_of(declared.media)}}
    if recorded is not None and status == recorded.status:
        names |= set(recorded.headers)
        for content in answer.get("content", {}).values():
            if recorded.body is not None:
                content["example"] = recorded.body
    answer["headers"] = headers.references(names)


def _schema_of(media: str) -> dict[str, Any]:
    if media.endswith("+json"):
        return {"type": "object"}
    text = media.startswith("text/") or media.endswith("+xml")
    return {"type": "string"} if text else {"type": "string", "format": "binary"}


def _headers(declared: EndpointSpec) -> set[str]:
    names = {"X-Request-Id"}
    if declared.rate:
        names |= {"RateLimit", "RateLimit-Policy"}
    if declared.idempotent:
        names.add("Idempotent-Replayed")
    if declared.deprecated_since:
        names.add("Deprecation")
    if declared.sunset:
        names.add("Sunset")
    if declared.successor:
        names.add("Link")
    return names


def _refusals(operation: dict[str, Any], declared: EndpointSpec) -> list[int]:
    """Return the error statuses of an operation. Every query is checked for unknown parameters: 422."""
    found = {422, 503, *(problem.status for problem in declared.problems)}
    if declared.permission != PUBLIC:
        found |= {401, 403}
    if declared.own_sign_in or any(parameter["in"] == "path" for parameter in operation["parameters"]):
        found.add(404)
    if declared.body is not None:
        found |= {400, 413, 415}
    if declared.rate:
        found.add(429)
    if declared.idempotent:
        found.add(409)
    return sorted(found)


def _refusal(status: int, declared: EndpointSpec) -> dict[str, Any]:
    of_framework: dict[type[Problem], bool] = {
        KeyReused: declared.idempotent,
        RecentAuthenticationRequired: declared.recent,
        SignInIsElsewhere: declared.own_sign_in,
    }
    kinds = dict.fromkeys([*declared.problems, *(kind for kind, applies in of_framework.items() if applies)])
    return problems.answer(status, tuple(kind for kind in kinds if kind.status == status))


def _complete_parameter(parameter: dict[str, Any]) -> None:
    schema = parameter["schema"]
    if parameter["in"] != "path":
        schema = parameter["schema"] = _without_null(schema)
    # spectree returns the bounds of Falcon's path converters as text.
    schema |= {bound: int(schema[bound]) for bound in ("minimum", "maximum") if isinstance(schema.get(bound), str)}
    parameter["description"] = (
        parameter["description"] or schema.pop("description", "") or _path_description(parameter["name"])
    )
    schema.pop("description", None)


def _path_description(parameter: str) -> str:
    if parameter.endswith("_id"):
        return f"The `id` of the {parameter.removesuffix('_id').replace('_', ' ')}."
    return _IN_PATHS.get(parameter, "")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove `null` from the schema of a parameter: it can be omitted, but a URL has no null."""
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**options[0], **rest} if len(options) == 1 else {"anyOf": options, **rest}
