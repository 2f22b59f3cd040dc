"""Sessions: refresh, sign out, step up and list them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.core.errors import Invalid, MfaRequired, TooMany
from models.identity import mfa, sessions, step_up
from models.identity.mfa import InvalidCode
from models.identity.sessions import RefreshTokenInvalid, TooManyRefreshes
from models.identity.step_up import WrongPassword
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import Code, Password, exactly_one_of
from web.v1.identity.sign_in import SessionOut

_LIST = "sessions"


class RefreshIn(msgspec.Struct, forbid_unknown_fields=True):
    """Refresh-token request body."""

    refresh_token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class LogoutIn(msgspec.Struct, forbid_unknown_fields=True):
    """Sessions to end: this one, the others or all."""

    scope: sessions.Scope = "this"


class StepUpIn(msgspec.Struct, forbid_unknown_fields=True):
    """The password, or a code of the authenticator."""

    password: Password | None = None
    code: Code | None = None


class SessionSummaryOut(msgspec.Struct):
    """A live session. `address` and `user_agent` are those of the sign-in.

    `authenticated_at`: time when a password or a code was last verified; null if never, as for anonymous fans.
    """

    id: UUID
    is_this: bool
    created_at: Instant
    refreshed_at: Instant
    authenticated_at: Instant | None
    expires_at: Instant
    address: str | None
    user_agent: str | None

    @classmethod
    def of(cls, session: sessions.SessionSummary, this: UUID | None) -> "SessionSummaryOut":
        """Build the response from a session. `this` is the session of the request."""
        return cls(
            id=session.id,
            is_this=session.id == this,
            created_at=session.created_at,
            refreshed_at=session.refreshed_at,
            authenticated_at=session.authenticated_at,
            expires_at=session.expires_at,
            address=session.address,
            user_agent=session.user_agent,
        )


class Refresh:
    """`/api/v1/auth/refresh`: refresh a session."""

    # All fans in a stadium may share one address.
    @endpoint(
        operation_id="refreshSession",
        credentials=True,
        own_sign_in=True,
        body=RefreshIn,
        response=SessionOut,
        permission="public",
        counts="sign_ins",
        refused_as="session.refresh",
        rate="3000/minute",
        outward=True,
        problems=(RefreshTokenInvalid, TooManyRefreshes),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Refresh a session. Return an access token with the person's present role, and a new refresh token.

        A refresh token is valid once. Sent again within ten seconds, or later while its successor is unused, it returns
        the same successor. Otherwise two clients have the token, and the session ends.
        """
        resp.media = SessionOut.of(sessions.refresh(req.context.body.refresh_token))


class Logout:
    """`/api/v1/auth/logout`: sign out."""

    @endpoint(
        operation_id="logOut",
        credentials=True,
        body=LogoutIn,
        body_optional=True,
        status=204,
        permission="authenticated",
        audit="session.end",
        before_mfa=True,
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """End this session, the caller's other sessions, or all of them. Their tokens are refused from then on.

        A session that owes MFA can end itself only.
        """
        scope = req.context.body.scope
        if scope != "this" and req.context.identity.mfa_pending:
            raise MfaRequired
        ended = sessions.end(scope)
        audited(
            req,
            table="sessions",
            record_id=req.context.identity.session_id,
            after={"scope": scope, "ended": ended},
        )


class StepUp:
    """`/api/v1/auth/step-up`: confirm the caller's identity again."""

    @endpoint(
        operation_id="stepUp",
        credentials=True,
        own_sign_in=True,
        body=StepUpIn,
        status=204,
        permission="authenticated",
        audit="session.step_up",
        slow=True,
        outward=True,
        before_mfa=True,  # enrolment of an authenticator requires recent authentication
        problems=(WrongPassword, InvalidCode, TooMany, Invalid),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm the caller's identity. The session counts as recently authenticated for ten minutes.

        A session that owes the enrolment of an authenticator sends the password. A session that owes a code sends it to
        `/api/v1/auth/mfa/verify`, which has the same effect.
        """
        asked: StepUpIn = req.context.body
        identity = req.context.identity
        audited(req, table="sessions", record_id=identity.session_id)
        if asked.code is not None and asked.password is None:
            if identity.mfa_pending:
                raise MfaRequired
            mfa.verify(identity, asked.code, "session.step_up")
        elif asked.password is not None and asked.code is None:
            step_up.with_password(identity, asked.password)
        else:
            raise exactly_one_of("password", "code")


class Sessions:
    """`/api/v1/users/me/sessions`: the caller's sessions."""

    @endpoint(credentials=True, query=PageQuery, response=Page[SessionSummaryOut], permission="authenticated")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the caller's live sessions, newest first."""
        asked: PageQuery = req.context.query
        found = sessions.list_own(asked.limit + 1, decode_cursor(asked.cursor, tuple[datetime, UUID], scope=_LIST))
        items = [SessionSummaryOut.of(session, req.context.identity.session_id) for session in found]
        resp.media = page_of(items, asked.limit, lambda s: (s.created_at, s.id), scope=_LIST)


class Session:
    """`/api/v1/users/me/sessions/{session_id}`: one session of the caller."""

    @endpoint(operation_id="endSession", credentials=True, status=204, permission="authenticated", audit="session.end")
    def on_delete(self, req: Request, resp: Response, session_id: UUID) -> None:
        """End one of the caller's sessions. Its tokens are refused from then on."""
        sessions.end_one(session_id)
        audited(req, table="sessions", record_id=session_id)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/refresh", Refresh()),
    ("/api/v1/auth/logout", Logout()),
    ("/api/v1/auth/step-up", StepUp()),
    ("/api/v1/users/me/sessions", Sessions()),
    ("/api/v1/users/me/sessions/{session_id:uuid}", Session()),
]
