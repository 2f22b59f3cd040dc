"""Render every error as `application/problem+json` (RFC 9457)."""

import logging
from typing import Any

import falcon
import msgspec
from falcon.asgi import App, Request, Response

from models.core.context import request_info
from models.core.database import denied_access, is_connection_loss, sqlstate
from models.core.errors import Conflict, Forbidden, Invalid, InvalidMembers, NotFound, Problem, Unavailable
from models.core.messages import Message
from settings import settings
from web.http.locales import best
from web.http.reasons import GENERAL
from web.http.translations import ENGLISH, LANGUAGES, title, translate

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
CATALOGUE = "/docs/errors"
"""Path of the page that describes every code."""

_encode = msgspec.json.Encoder().encode


class ProblemOut(msgspec.Struct):
    """An error: the members of RFC 9457, a stable `code`, the request's id, and `errors` by field."""

    type: str
    title: str
    status: int
    code: str
    detail: str = ""
    request_id: str = ""
    errors: list[dict[str, str]] = []


class BadRequest(Problem):
    """Malformed request."""

    code = "bad_request"


class SignInIsElsewhere(Problem):
    """Request for a sign-in that another service provides."""

    code = "sign_in_is_elsewhere"


class MethodNotAllowed(Problem):
    """Method that the path does not have."""

    code = "method_not_allowed"


class NotAcceptable(Problem):
    """Request for a media type that is not offered."""

    code = "not_acceptable"


class TooSlow(Problem):
    """Request whose body arrived too slowly."""

    code = "request_timeout"


class TooLarge(Problem):
    """Body over the size limit."""

    code = "content_too_large"


class UriTooLong(Problem):
    """Request target over the size limit."""

    code = "uri_too_long"


class UnsupportedMediaType(Problem):
    """Body of an unsupported media type."""

    code = "unsupported_media_type"


class Misdirected(Problem):
    """Request for another host."""

    code = "misdirected_request"


class HeadersTooLarge(Problem):
    """Header fields over the size limit."""

    code = "headers_too_large"


_BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind
    for kind in (
        *(BadRequest, NotFound, MethodNotAllowed, NotAcceptable, TooSlow, TooLarge, UriTooLong, UnsupportedMediaType),
        *(HeadersTooLarge, Unavailable),
    )
}


def problem_of_status(status: int, detail: str = "", *, headers: dict[str, str] | None = None) -> Problem:
    """Return the problem for a status, as set by Falcon's own refusals and by the server."""
    kind = _BY_STATUS.get(status, Problem if status >= 500 else BadRequest)
    return Problem.of_code(kind.code, detail, status=status, headers=headers)


def type_of(code: str, server: str = settings.public_url) -> str:
    """Return the URL of a code's description, which identifies the kind of problem (RFC 9457, section 3.1.1)."""
    return f"{server.rstrip('/')}{CATALOGUE}#{code}"


def problem_document(problem: Problem, request_id: str, language: str = ENGLISH) -> dict[str, Any]:
    """Return the problem document (RFC 9457) in a language."""
    detail = translate(problem.detail, language) if problem.detail else None
    document = {
        "type": type_of(problem.code),
        "title": title(problem.code, problem.title, language),
        "status": problem.status,
        "code": problem.code,
        **({"detail": detail} if detail else {}),
        "request_id": request_id,
        **problem.extra,
    }
    if isinstance(problem.values, InvalidMembers):
        document["errors"] = [
            {"field": error.field, "reason": translate(error.reason, language) or translate(GENERAL, language)}
            for error in problem.values.errors
        ]
    return document


def render(req: Request, resp: Response, problem: Problem) -> None:
    """Render a problem into the response, in the language that the client prefers."""
    language = best(req.get_header("Accept-Language"), LANGUAGES)
    resp.status = problem.status
    resp.context.code = problem.code  # for the metrics
    resp.content_type = PROBLEM_JSON
    resp.data = _encode(problem_document(problem, request_info().request_id, language))
    resp.set_header("Content-Language", language)
    resp.append_header("Vary", "Accept-Language")
    # The responder set these headers for an answer that is not sent.
    for header in ("Location", "ETag"):
        resp.delete_header(header)
    for name, value in problem.headers.items():
        resp.set_header(name, value)


def problem_of_database_error(error: BaseException) -> Problem | None:
    """Return the problem for a database error; None if the error is a programming mistake.

    Constraint names and values are not shown. Expected conflicts are reported by the rules that check for them; this
    function handles the rest.
    """
    state = sqlstate(error)
    if state is None:
        return Unavailable("The database does not answer.") if is_connection_loss(error) else None
    if state in _BY_STATE:
        kind, detail = _BY_STATE[state]
        return kind(detail)
    if state.startswith("22"):
        return Invalid("body", "contains a value that can't be stored")
    if state[:2] in _UNAVAILABLE_CLASSES:
        return Unavailable("The database does not answer.")
    return None


_BY_STATE: dict[str, tuple[type[Problem], str]] = {
    "57014": (Unavailable, Message("The database took too long. Send the request again.")),
    "55P03": (Unavailable, Message("Another request is changing the record. Send the request again.")),
    "40001": (Unavailable, Message("Another request changed the record at the same time. Send the request again.")),
    "40P01": (Unavailable, Message("Another request changed the record at the same time. Send the request again.")),
    "25P03": (Unavailable, Message("The database took too long. Send the request again.")),
    "42501": (Forbidden, Message("Your role may not read or change this record.")),
    "23505": (Conflict, Message("A record with the same value exists.")),
    "23503": (Conflict, Message("It refers to a record that does not exist, or another record refers to it.")),
    "23P01": (Conflict, Message("It overlaps with another record.")),
}
# 08 connection lost, 53 out of resources, 57 shut down by an operator, 58 the system's I/O
_UNAVAILABLE_CLASSES = ("08", "53", "57", "58")


async def _on_problem(req: Request, resp: Response, error: Problem, params: dict[str, Any]) -> None:
    if error.status >= 500:
        logger.warning("%s: %s", error.code, error, extra={"route": req.uri_template})
    render(req, resp, error)


async def _on_http_error(req: Request, resp: Response, error: falcon.HTTPError, params: dict[str, Any]) -> None:
    problem = problem_of_status(error.status_code, error.description or "", headers=dict(error.headers or {}))
    await _on_problem(req, resp, problem, params)


async def _on_exception(req: Request, resp: Response, error: Exception, params: dict[str, Any]) -> None:
    problem = problem_of_database_error(error)
    if problem is None:
        logger.error("unhandled %s", type(error).__name__, exc_info=error, extra={"route": req.uri_template})
        problem = Problem("Report the request_id to support.")
    elif denied := denied_access(error):
        logger.warning(
            "database: 42501 as %s: %s. %s", _role(req), denied, _HOW_TO_GRANT, extra={"route": req.uri_template}
        )
    else:
        logger.warning("database: %s", sqlstate(error) or error, extra={"route": req.uri_template})
    render(req, resp, problem)


_HOW_TO_GRANT = "If the role needs it: grant it with app.secure or app.grant_definer in a migration (docs/tenancy.md)."


def _role(req: Request) -> str:
    identity = getattr(req.context, "identity", None)
    return identity.role if identity is not None else "nobody"


def install(app: App[Any, Any]) -> None:
    """Install the error handlers."""
    app.add_error_handler(Exception, _on_exception)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(Problem, _on_problem)
