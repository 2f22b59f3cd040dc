"""The OpenAPI 3.1 document, made by spectree from what the endpoints declare."""

import inspect
import re
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Annotated, Any, get_args, get_origin

import msgspec
from falcon.asgi import App
from spectree import SecurityScheme, SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from spectree.models import SecureType, SecuritySchemeData, Server
from spectree.plugins.falcon_plugin import FalconAsgiPlugin
from spectree.response import Response as Responses

from models.core.errors import PreconditionFailed
from models.identity.step_up import RecentAuthenticationRequired
from web.http.endpoint_spec import AUTHENTICATED, GENERAL, JSON, OPEN, OPTIONAL, PUBLIC, EndpointSpec
from web.http.problems import PROBLEM_JSON, ProblemOut, SignInIsElsewhere
from web.openapi.examples import example_of
from web.openapi.schemas import SCHEMAS, add_missing_items, keep_used, share_nested, with_plain_patterns

TITLE = "Compañon API"
VERSION = "1.0.0"
DESCRIPTION = """
Brands run activations, fans scan codes, numbers move.

**Errors** are `application/problem+json` (RFC 9457); `code` is stable, `errors` names the fields that are wrong.
**Signing in** is over at 401: on `session_ended`, refresh once; if that doesn't help, sign in again.
**Lists** come in pages: send `next_cursor` back as `cursor`. **Repeating** a POST is safe with an `Idempotency-Key`
where an endpoint takes one. **Overwriting** what somebody else changed is prevented by `If-Match` with the `ETag` that
you read. **Limits** are told in `RateLimit` and `RateLimit-Policy`; `429` and `503` say in `Retry-After` when to come
back. **Work that goes on** is answered with `202` and the job's `Location`. Every answer carries `X-Request-Id`.
"""
_CONVERTER = re.compile(r":[^}/]*(?=})")
_SENTENCE = re.compile(r"(?<=[.])\s+(?=[^a-z])")
_PROBLEM = ProblemOut.__name__
_IN_PATHS = {
    "name": "As in `GET /api/v1/actors`.",
    "process": "`relay`, `worker`, `clock` or `seal`.",
    "token": "The token that the code holds: the last part of its URL.",
}
"""What there is to say of parameters of a path, beside ids."""


class IdempotencyHeaders(msgspec.Struct, rename={"idempotency_key": "Idempotency-Key"}):
    """The header of a request that may be repeated."""

    idempotency_key: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=255,
                pattern="^[!-~]+$",
                description="Of your choosing, e.g. a UUID. The same request with it gets the first answer again.",
            ),
        ]
        | None
    ) = None


class ConditionHeaders(msgspec.Struct, rename={"if_match": "If-Match"}):
    """The header of a change that nobody else's change shall be lost to."""

    if_match: (
        Annotated[str, msgspec.Meta(description="The `ETag` of what you have read: if it has changed since, 412.")]
        | None
    ) = None


def document(app: App[Any, Any]) -> dict[str, Any]:
    """The document for all routes of `app` whose responders are endpoints."""
    spec = SpecTree(
        backend=_Endpoints,
        model_adapter=get_msgspec_model_adapter(),
        validation_error_model=ProblemOut,
        naming_strategy=_Names().name,
        annotations=False,
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION.strip(),
        servers=[Server(url="/")],
        security_schemes=[
            SecurityScheme("bearer", SecuritySchemeData(type=SecureType.HTTP, scheme="bearer", bearer_format="JWT"))
        ],
    )
    spec.app = app
    backend = spec.backend
    assert isinstance(backend, _Endpoints)
    return _finished(spec.spec, backend)


def endpoint_specs(app: App[Any, Any]) -> dict[tuple[str, str], EndpointSpec]:
    """What every endpoint of `app` declares, by method and path as in the document."""
    spec = SpecTree(backend=_Endpoints, model_adapter=get_msgspec_model_adapter())
    spec.app = app
    return {
        (method, _CONVERTER.sub("", route.uri_template)): declared
        for route in spec.backend.find_routes()
        for method, responder in route.method_map.items()
        if (declared := getattr(responder, "spec", None)) is not None and method != "HEAD"
    }


class _Names:
    """Component names: a struct's own, with its module's in front where two are called the same."""

    def __init__(self) -> None:
        self._taken: dict[str, Any] = {}

    def name(self, model: Any) -> str:
        name = _plain_name(model)
        if self._taken.setdefault(name, model) == model:
            return name
        return f"{model.__module__.rpartition('.')[2].title()}{name}"


def _plain_name(model: Any) -> str:
    origin, arguments = get_origin(model), get_args(model)
    if origin is Annotated:
        return _plain_name(arguments[0])
    if origin is list:
        return f"{_plain_name(arguments[0])}List"
    if arguments:
        return "".join(_plain_name(argument) for argument in arguments) + str(origin.__name__)
    return str(model.__name__)


class _Endpoints(FalconAsgiPlugin):
    """spectree's Falcon plugin, told what to document by our endpoint_specs instead of by wrapping responders."""

    def __init__(self, spectree: SpecTree) -> None:
        super().__init__(spectree)  # type: ignore[no-untyped-call]
        self.declared: dict[str, EndpointSpec] = {}
        self.subjects: dict[str, str] = {}

    def parse_func(self, route: Any) -> Iterator[tuple[str, Callable[..., Any]]]:  # type: ignore[override]
        for method, responder in route.method_map.items():
            declared: EndpointSpec | None = getattr(responder, "spec", None)
            if declared is not None and method != "HEAD":
                yield method, self._documented(route, method, responder, declared)

    def bypass(self, func: Callable[..., Any], method: str) -> bool:
        return False

    def _documented(self, route: Any, method: str, responder: Any, declared: EndpointSpec) -> Callable[..., Any]:
        operation_id = method.lower() + type(route.resource).__name__ + _suffix(responder)
        self.declared[operation_id] = declared
        tag = responder.__module__.rpartition(".")[2].replace("_", " ")
        self.subjects[tag] = inspect.getdoc(inspect.getmodule(responder)) or ""
        validate = self.spectree.validate(
            query=declared.query,
            json=declared.body,
            headers=_headers(declared),
            resp=_responses(declared, route.uri_template),
            tags=(tag,),
            security={} if declared.permission in OPEN else {"bearer": []},
            operation_id=operation_id,
            skip_validation=True,
        )
        documented: Callable[..., Any] = validate(partial(responder))
        documented.__name__ = responder.__name__
        documented.__doc__ = _explained(route.resource, responder, declared)
        return documented


def _headers(declared: EndpointSpec) -> type[msgspec.Struct] | None:
    if declared.idempotent:
        return IdempotencyHeaders
    return ConditionHeaders if PreconditionFailed in declared.problems else None


def _suffix(responder: Any) -> str:
    return "".join(part.title() for part in responder.__name__.split("_")[2:])


def _explained(resource: Any, responder: Any, declared: EndpointSpec) -> str:
    own = inspect.getdoc(responder) or inspect.getdoc(type(resource)) or responder.__name__
    summary, *rest = _SENTENCE.split(own, maxsplit=1)
    notes = [*rest, _who(declared)]
    if declared.rate and declared.rate != GENERAL:
        address = f", and to {declared.address_rate} for each address" if declared.address_rate else ""
        total = f", and to {declared.total_rate} for all callers" if declared.total_rate else ""
        notes.append(f"Limited to {declared.rate} for each caller{address}{total}.")
    if declared.before_mfa:
        notes.append("Open to sessions that owe the second factor, too.")
    if declared.recent:
        code = RecentAuthenticationRequired.code
        notes.append(f"The caller has to have shown who they are within ten minutes, or it is `{code}` (403).")
    if declared.own_sign_in:
        notes.append(
            f"Where a Supabase project signs people in: `{SignInIsElsewhere.code}` ({SignInIsElsewhere.status})."
        )
    if declared.audit:
        notes.append(f"Recorded in the audit trail as `{declared.audit}`.")
    elif declared.refused_as:
        notes.append(f"Refusals are recorded in the audit trail as `{declared.refused_as}`.")
    if declared.problems:
        notes.append("Refusals of its own: " + ", ".join(f"`{p.code}` ({p.status})" for p in declared.problems) + ".")
    return "\n\n".join([summary, *filter(None, notes)])


def _who(declared: EndpointSpec) -> str:
    permission = declared.permission
    if permission == PUBLIC:
        return "Open to everybody."
    if permission == OPTIONAL:
        return "Open to everybody; an access token says who is asking."
    if permission == AUTHENTICATED:
        keys = f"an API key needs the scope `{declared.scope}`" if declared.scope else "not for API keys"
        return f"For everybody who is signed in; {keys}."
    return f"Needs the permission `{permission}`."


def _responses(declared: EndpointSpec, template: str) -> Responses:
    refusals = {503, *(problem.status for problem in declared.problems)}
    if declared.permission != PUBLIC:
        refusals |= {401, 403}
    if "{" in template or declared.own_sign_in:
        refusals.add(404)
    if declared.body is not None:
        refusals |= {400, 413, 415}
    if declared.rate:
        refusals.add(429)
    if declared.idempotent:
        refusals |= {409, 422}
    answers = dict.fromkeys(refusals, ProblemOut) | {declared.status: declared.response, **declared.other_responses}
    return Responses(**{f"HTTP_{status}": (model, HTTPStatus(status).phrase) for status, model in answers.items()})


def _finished(spec: dict[str, Any], backend: _Endpoints) -> dict[str, Any]:
    """What spectree has no words for."""
    spec["openapi"] = "3.1.0"
    spec["paths"] = {path.replace("\\", ""): operations for path, operations in spec["paths"].items() if operations}
    for tag in spec["tags"]:
        tag["description"] = backend.subjects[tag["name"]]
    taken: set[str] = set()
    for operations in spec["paths"].values():
        for operation in operations.values():
            _finish_operation(operation, backend.declared[operation["operationId"]])
            operation["operationId"] = _unique(operation["operationId"], taken)
    share_nested(spec)
    keep_used(spec)
    add_missing_items(spec)
    _exemplify(spec)
    return with_plain_patterns(spec)


def _unique(name: str, taken: set[str]) -> str:
    """The name, with a number behind it where one resource answers at several paths."""
    numbered = (name if number == 1 else f"{name}{number}" for number in count(1))
    found = next(candidate for candidate in numbered if candidate not in taken)
    taken.add(found)
    return found


def _exemplify(spec: dict[str, Any]) -> None:
    for operations in spec["paths"].values():
        for operation in operations.values():
            if body := operation.get("requestBody"):
                content = body["content"]["application/json"]
                content["example"] = example_of(content["schema"], spec["components"]["schemas"])


def _finish_operation(operation: dict[str, Any], declared: EndpointSpec) -> None:
    if declared.media != JSON:
        operation["responses"][str(declared.status)]["content"] = {declared.media: {"schema": {"type": "string"}}}
    if "requestBody" in operation:
        operation["requestBody"]["required"] = not declared.body_optional
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        if int(status) >= 400 and content["application/json"]["schema"] == {"$ref": SCHEMAS + _PROBLEM}:
            content[PROBLEM_JSON] = content.pop("application/json")
    problem = {"schema": {"$ref": SCHEMAS + _PROBLEM}}
    operation["responses"] = dict(sorted(operation["responses"].items()))
    operation["responses"]["default"] = {"description": "Any other error", "content": {PROBLEM_JSON: problem}}
    for parameter in operation["parameters"]:
        if parameter["in"] != "path":
            parameter["schema"] = _without_null(parameter["schema"])
        if not parameter["description"]:
            parameter["description"] = parameter["schema"].get("description") or _said_of(parameter["name"])


def _said_of(parameter: str) -> str:
    if parameter.endswith("_id"):
        return f"The `id` of the {parameter.removesuffix('_id').replace('_', ' ')}."
    return _IN_PATHS.get(parameter, "")


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter may be left out; `null` is nothing that a URL could say."""
    if "anyOf" not in schema:
        return schema
    options = [option for option in schema["anyOf"] if option != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf" and (key, value) != ("default", None)}
    return {**options[0], **rest} if len(options) == 1 else {"anyOf": options, **rest}
