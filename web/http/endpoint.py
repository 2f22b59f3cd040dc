"""`@endpoint(…)`: all steps between the route and the responder, declared in one place.

The steps of a request: route, method, authentication (401), permission (403), rate limit (429), body and query
(400, 413, 415, 422), the caller's transaction. The responder runs within that transaction in the thread pool. The
answer is encoded before the commit: an answer that can't be encoded rolls the transaction back.
"""

from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from functools import partial, update_wrapper
from typing import Any, Unpack

import msgspec
from falcon.asgi import Request, Response

from models.core.context import Identity, acting_as, unauthenticated
from models.core.errors import Forbidden, Invalid, MfaRequired, Problem, Unauthenticated
from models.core.messages import Message
from web.http import idempotency
from web.http.accepted import accept
from web.http.auditing import audited, changes, record_act, refused
from web.http.body import read_json_bytes
from web.http.client_address import partition
from web.http.decode import Body, Query
from web.http.dependencies import Dependencies
from web.http.deprecation import deprecation_headers
from web.http.endpoint_spec import AUTHENTICATED, GENERAL, OPEN, OPTIONAL, PUBLIC, EndpointOptions, EndpointSpec
from web.http.negotiation import preferred_type
from web.http.pagination import Page, PageQuery, decode_cursor, page_of
from web.http.preconditions import etag, not_modified, require_match
from web.http.problems import NotAcceptable, SignInIsElsewhere, problem_of_database_error
from web.http.rate_limits import Rate, headers, parse_rate
from web.http.thread_pool import Overloaded
from web.http.waiting import Waiting, read_if_ended, result_of, wait_for

__all__ = [
    "Page",
    "PageQuery",
    "accept",
    "audited",
    "changes",
    "decode_cursor",
    "endpoint",
    "etag",
    "page_of",
    "require_match",
    "wait_for",
]

Responder = Callable[..., Coroutine[Any, Any, None]]

_encode = msgspec.json.Encoder().encode


def endpoint(**declared: Unpack[EndpointOptions]) -> Callable[[Callable[..., Any]], Responder]:
    """Make a responder method an endpoint. `EndpointSpec` explains the options.

    `req.context` holds `body`, `query` and `identity` when the responder runs. The responder sets `resp.media`.

    Raises:
        TypeError: options contradict each other, or the permission is missing.
    """
    declaration = EndpointSpec(**declared)

    def decorate(function: Callable[..., Any]) -> Responder:
        operation = _Operation(declaration, function)
        responder = _asynchronous(operation) if declaration.mode == "async" else _in_pool(operation)
        update_wrapper(responder, function)
        responder.spec = declaration  # type: ignore[attr-defined]
        return responder

    return decorate


def _in_pool(operation: "_Operation") -> Responder:
    declared = operation.spec

    async def respond(resource: Any, req: Request, resp: Response, **path: Any) -> None:
        dependencies: Dependencies = req.context.dependencies
        try:
            await operation.admit(req, resp)
            raw = await operation.read(req)
            pool = (
                dependencies.new_password_pool
                if declared.chooses_password
                else dependencies.slow_pool
                if declared.slow
                else dependencies.pool
            )
            await pool.run(operation.perform, resource, req, resp, path, raw)
            if declared.waits:
                await operation.await_job(req, resp)
        except Exception as error:
            await operation.record_refusal(req, path, error)
            raise

    return respond


def _asynchronous(operation: "_Operation") -> Responder:
    async def respond(resource: Any, req: Request, resp: Response, **path: Any) -> None:
        try:
            await operation.admit(req, resp)
            operation.decode(req, await operation.read(req))
            resp.status = operation.spec.status
            await operation.responder(resource, req, resp, **path)
            _finish(req, resp)
        except Exception as error:
            await operation.record_refusal(req, path, error)
            raise

    return respond


class _Operation:
    """Runs the requests of one endpoint."""

    def __init__(self, declared: EndpointSpec, responder: Callable[..., Any]) -> None:
        self.spec = declared
        self.responder = responder
        self._body = Body(declared.body) if declared.body is not None else None
        self._query = Query(declared.query)
        self._rate: Rate | None = None
        if declared.rate and declared.rate != GENERAL:
            self._rate = parse_rate(_rate_name(responder), declared.rate)
        self._deprecation = deprecation_headers(declared)
        self._total_rate: Rate | None = None
        if declared.total_rate:
            self._total_rate = parse_rate(f"{_rate_name(responder)}Total", declared.total_rate)
        self._address_rate: Rate | None = None
        if declared.address_rate:
            self._address_rate = parse_rate(f"{_rate_name(responder)}Address", declared.address_rate)

    async def admit(self, req: Request, resp: Response) -> None:
        """Authenticate the caller, check the permission, and count the request towards its limits.

        Raises:
            Problem: the request is refused (401, 403, 404, 406, 429).
        """
        dependencies: Dependencies = req.context.dependencies
        if self._deprecation:
            resp.set_headers(self._deprecation)
        _require_acceptable(req, self.spec.media)
        if self.spec.own_sign_in and not dependencies.signs_in:
            raise SignInIsElsewhere
        try:
            identity = await self._identify(dependencies, req)
        except Unauthenticated:
            await self._limit(dependencies, unauthenticated(), req, resp)
            raise
        req.context.identity = identity.on_credentials() if self.spec.credentials else identity
        forbidden = not await self._allowed(dependencies, identity)
        await self._limit(dependencies, identity, req, resp)
        if identity.mfa_pending and not self.spec.before_mfa:
            raise MfaRequired("Verify a code of the authenticator first.")
        if forbidden:
            raise self._forbidden(identity)

    async def _limit(self, dependencies: Dependencies, identity: Identity, req: Request, resp: Response) -> None:
        """Count the request towards its limits. The `RateLimit` headers show the last counted limit."""
        if identity.is_api_key:
            standing = await dependencies.limiter.take(dependencies.key_rate, str(identity.actor_id))
            resp.set_headers(headers(dependencies.key_rate, standing))
        who = str(identity.actor_id or partition(req.context.info.address))
        if self._address_rate is not None:
            await dependencies.limiter.take(self._address_rate, partition(req.context.info.address))
        if self._rate is not None:
            standing = await dependencies.limiter.take(self._rate, who)
            resp.set_headers(headers(self._rate, standing))
        elif self.spec.rate == GENERAL and not identity.is_api_key:
            rate = dependencies.person_rate if identity.actor_id else dependencies.address_rate
            resp.set_headers(headers(rate, await dependencies.limiter.take_batched(rate, who)))
        if self._total_rate is not None:
            await dependencies.limiter.take_batched(self._total_rate)

    async def _identify(self, dependencies: Dependencies, req: Request) -> Identity:
        if self.spec.permission == PUBLIC:
            return unauthenticated()
        authorization = req.auth
        if authorization is None:
            if self.spec.permission == OPTIONAL:
                return unauthenticated()
            raise Unauthenticated
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("The Authorization header must be `Bearer <access token>`.")
        return await dependencies.verify(token.strip())

    async def _allowed(self, dependencies: Dependencies, identity: Identity) -> bool:
        permission = self.spec.permission
        if identity.is_api_key:
            return permission in OPEN or self.spec.key_scope in identity.scopes
        return (
            permission in OPEN or permission == AUTHENTICATED or await dependencies.grants.allow(identity, permission)
        )

    def _forbidden(self, identity: Identity) -> Forbidden:
        """Return the refusal of a caller, with the permission or scope that is missing."""
        if not identity.is_api_key:
            missing = self.spec.permission
            return Forbidden(Message("Needs the permission `{permission}`.", permission=missing), permission=missing)
        scope = self.spec.key_scope
        if scope is None:
            return Forbidden("API keys can't send this request: sign in as a person.")
        return Forbidden(Message("The API key needs the scope `{scope}`.", scope=scope), scope=scope)

    async def record_refusal(self, req: Request, path: Mapping[str, Any], error: Exception) -> None:
        """Record a refusal in the audit trail, after its transaction and in its own one."""
        refusal = error if isinstance(error, Problem) else problem_of_database_error(error)
        found = refusal and refused(self.spec, req, path, refusal)
        if found:
            await req.context.dependencies.refusals.record(found)

    async def read(self, req: Request) -> bytes:
        """Return the bytes of the body; empty if no body is declared."""
        if self._body is None:
            return b""
        dependencies: Dependencies = req.context.dependencies
        return await read_json_bytes(req, dependencies.max_body_bytes)

    def decode(self, req: Request, raw: bytes) -> None:
        """Set the validated query and body in the request's context."""
        content = b"{}" if self.spec.body_optional and not raw else raw
        try:
            req.context.query = self._query.decode(req.query_string)
        except Invalid as error:
            raise self._with_errors_of_body(error, content) from None
        if self._body is not None:
            req.context.body = self._body.decode(content)

    def _with_errors_of_body(self, refusal: Invalid, content: bytes) -> Invalid:
        """Return the refusal of a query, with the invalid fields of the body as well."""
        try:
            if self._body is not None:
                self._body.decode(content)
        except Invalid as error:
            return Invalid(errors=[*refusal.values.errors, *error.values.errors])
        return refusal

    def perform(self, resource: Any, req: Request, resp: Response, path: dict[str, Any], raw: bytes) -> None:
        """Decode the request and run the responder in the caller's transaction. Runs in a thread."""
        self.decode(req, raw)
        resp.status = self.spec.status
        respond = partial(self.responder, resource, req, resp, **path)
        if self.spec.outward:
            self._act_outward(req, resp, respond)
            return
        dependencies: Dependencies = req.context.dependencies
        with dependencies.transaction(req.context.identity, timeout=self.spec.timeout):
            if self.spec.recent:
                dependencies.require_recent()
            self._act(req, resp, raw, respond)

    def _act(self, req: Request, resp: Response, raw: bytes, respond: Callable[[], Any]) -> None:
        key = idempotency.key_of(req) if self.spec.idempotent else None
        if key is None:
            self._respond(req, resp, respond)
            return
        store = req.context.dependencies.idempotency
        scope, digest = idempotency.scope_of(req.context.identity), idempotency.digest_of(req, raw)
        kept = store.begin(scope, key, digest)
        if kept is not None:
            idempotency.replay(resp, kept, digest)
            return
        self._respond(req, resp, respond)
        body = (resp.data or b"").decode()
        kept_headers = idempotency.stored_headers(resp)
        store.store(scope, key, resp.status_code, kept_headers, body, is_secret=self.spec.secret)

    def _respond(self, req: Request, resp: Response, respond: Callable[[], Any]) -> None:
        respond()
        gives_nothing = req.method == "HEAD" and resp.stream is not None
        if self.spec.audit and not gives_nothing:
            record_act(req.context.dependencies, req, self.spec.audit)
        _finish(req, resp)

    async def await_job(self, req: Request, resp: Response) -> None:
        """Wait for the job that the responder has named, and answer with its result. Otherwise the 202 stays."""
        waiting: Waiting | None = getattr(req.context, "waiting", None)
        dependencies: Dependencies = req.context.dependencies
        if waiting is None or not await dependencies.jobs.wait(waiting.job_id):
            return
        with suppress(Overloaded):
            await dependencies.pool.run(self._conclude, req, resp, waiting)

    def _conclude(self, req: Request, resp: Response, waiting: Waiting) -> None:
        dependencies: Dependencies = req.context.dependencies
        with dependencies.transaction(req.context.identity, timeout=self.spec.timeout):
            job = read_if_ended(waiting.job_id)
            if job is None:
                return
            resp.media = result_of(job, waiting)
            resp.status = self.spec.status
            for name in ("Location", "Retry-After"):
                resp.delete_header(name)
            _finish(req, resp)

    def _act_outward(self, req: Request, resp: Response, respond: Callable[[], Any]) -> None:
        dependencies: Dependencies = req.context.dependencies
        identity: Identity = req.context.identity
        if self.spec.recent:
            with dependencies.transaction(identity, timeout=self.spec.timeout):
                dependencies.require_recent()
        with acting_as(identity):
            respond()
        _finish(req, resp)


def _rate_name(responder: Callable[..., Any]) -> str:
    """Return the name of the limit: `postLogin` for `Login.on_post`."""
    resource, _, method = responder.__qualname__.rpartition(".")
    return method.removeprefix("on_") + resource.rpartition(".")[2]


def _require_acceptable(req: Request, media: str) -> None:
    if req.accept not in ("*/*", media) and preferred_type(req, media) is None:
        raise NotAcceptable(Message("The answer is {media}: accept it.", media=media))


def _finish(req: Request, resp: Response) -> None:
    """Encode the answer before the commit, so that a failure rolls back."""
    if req.method in ("GET", "HEAD") and not_modified(req, resp):
        resp.status = 304
        resp.media = None
        return
    if resp.media is not None:
        resp.data = _encode(resp.media)
        resp.media = None
        resp.content_type = "application/json"
