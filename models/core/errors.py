"""What can go wrong for a caller. Each error knows its HTTP status and its stable `code`."""

from collections.abc import Mapping
from typing import Any, ClassVar


class Problem(Exception):
    """A refusal that the caller can understand, in the terms of RFC 9457.

    `extra` members go into the problem document beside `detail`, `headers` into the response.

    Attributes:
        is_noted: the audit trail is told, where it is told of refusals; not if whoever found it has done that, or if
            there is nothing to tell.
        claims: whose credentials they were that are refused, if they were ever good.
    """

    status = 500
    code = "internal"
    title = "Something went wrong on our side"
    is_noted = True
    claims: Mapping[str, Any] | None = None
    _titles: ClassVar[dict[str, str]] = {code: title}

    def __init_subclass__(cls) -> None:
        """A code has one title, whoever refuses: where a class has none of its own, it is the code in words."""
        if "code" in vars(cls):
            cls.title = vars(cls).get("title") or in_words(cls.code)
            cls._titles[cls.code] = cls.title

    @classmethod
    def of_code(cls, status: int, code: str, detail: str = "", *, headers: dict[str, str] | None = None) -> "Problem":
        """A refusal that is known by its code alone, as the database's functions raise it."""
        problem = Problem(detail, headers=headers)
        problem.status, problem.code, problem.title = status, code, cls._titles.get(code) or in_words(code)
        return problem

    def __init__(self, detail: str = "", *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


def in_words(code: str) -> str:
    """What a code says, e.g. `Already invited`."""
    return code.replace("_", " ").capitalize()


class Malformed(Problem):
    """The bytes that came are not what they should be at all."""

    status = 400
    code = "malformed_json"
    title = "The body is not valid JSON"


class Invalid(Problem):
    """The request is well formed and still wrong; `errors` names each field and its reason."""

    status = 422
    code = "invalid"
    title = "The request is not valid"

    def __init__(self, field: str = "", reason: str = "", **extra: Any) -> None:
        errors = extra.pop("errors", None) or ([{"field": field, "reason": reason}] if field else [])
        super().__init__("; ".join(f"{e['field']}: {e['reason']}" for e in errors), errors=errors, **extra)


class Unauthenticated(Problem):
    """Nobody is signed in, or the token says nothing that we trust."""

    status = 401
    code = "unauthenticated"
    title = "Sign in first"

    def __init__(self, detail: str = "", **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **extra)


class TokenExpired(Unauthenticated):
    """An access token was good, and is to be refreshed: that happens all day."""

    is_noted = False

    def __init__(self) -> None:
        super().__init__("The access token has expired.")


class Forbidden(Problem):
    """The caller is known and may not do this."""

    status = 403
    code = "forbidden"
    title = "Not allowed"


class MfaRequired(Forbidden):
    """The session has shown one factor, and the account or the role asks for a second one."""

    code = "mfa_required"
    title = "Show the second factor first"


class NotFound(Problem):
    """There is no such thing, or none that the caller may know of."""

    status = 404
    code = "not_found"
    title = "Not found"


class Conflict(Problem):
    """The state of things does not allow it."""

    status = 409
    code = "conflict"
    title = "That conflicts with the current state"


class PreconditionFailed(Problem):
    """Somebody else changed it since the caller looked."""

    status = 412
    code = "precondition_failed"
    title = "It has changed since you read it"


class TooMany(Problem):
    """The caller asks more often than is allowed."""

    status = 429
    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))}, **extra)


class Unavailable(Problem):
    """Something that we depend on does not answer; trying again later is right."""

    status = 503
    code = "unavailable"
    title = "Try again in a moment"

    def __init__(self, detail: str = "", *, retry_after: int = 1, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, retry_after))}, **extra)
