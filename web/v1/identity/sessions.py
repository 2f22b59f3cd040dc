"""Sessions: get the next access token, sign out, confirm one's identity again, see all devices.

A request with 401 `session_ended` or an expired access token refreshes the session once; if that fails, the person
signs in again. A request with 403 `recent_authentication_required` confirms the identity first.
"""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.enumerations import enumeration
from models.core.errors import Invalid, MfaRequired, TooMany
from models.identity import mfa, sessions, step_up
from models.identity.mfa import InvalidCode
from models.identity.sessions import RefreshTokenInvalid, TooManyRefreshes
from models.identity.step_up import WrongPassword
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import Code, Password, SessionId, exactly_one_of
from web.v1.identity.sign_in import SessionOut

_LIST = "sessions"


SessionScope = Annotated[
    sessions.Scope,
    enumeration(
        "SessionScope",
        "`this`: the session of the request. `others`: all other sessions of the caller. `all`: both.",
    ),
]


class RefreshIn(msgspec.Struct, forbid_unknown_fields=True):
    """Refresh-token request body."""

    refresh_token: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=200,
            description="The newest refresh token of the session.",
            examples=["dGhlIHJlZnJlc2ggdG9rZW4gb2YgdGhlIHNlc3Npb24"],
        ),
    ]


class LogoutIn(msgspec.Struct, forbid_unknown_fields=True):
    """The sessions to end. The body may be empty."""

    scope: Annotated[
        SessionScope,
        Meta(description="Which sessions of the caller end. Default: `this`.", examples=["this"]),
    ] = "this"


class StepUpIn(msgspec.Struct, forbid_unknown_fields=True):
    """The password, or a code of the authenticator. Send exactly one of the two."""

    password: Annotated[Password | None, Meta(description="The caller's password; null with a code.")] = None
    code: Annotated[
        Code | None, Meta(description="The code that the authenticator shows now; null with the password.")
    ] = None


class SessionSummaryOut(msgspec.Struct):
    """A live session of the caller."""

    id: SessionId
    is_this: Annotated[bool, Meta(description="Whether the session is the one of this request.")]
    created_at: Annotated[Instant, Meta(description="Time of the sign-in, in UTC.")]
    refreshed_at: Annotated[
        Instant, Meta(description="Time of the last refresh, in UTC; the time of the sign-in if there was none.")
    ]
    authenticated_at: Annotated[
        Instant | None,
        Meta(
            description="Time when a password or a code was last verified. Null if never, as for anonymous fans. Acts"
            " that need step-up compare it with the time ten minutes ago."
        ),
    ]
    expires_at: Annotated[
        Instant, Meta(description="Time at which the session ends unless it is refreshed before, in UTC.")
    ]
    address: Annotated[
        str | None,
        Meta(description="IP address of the sign-in; null if it is not known.", examples=["203.0.113.7"]),
    ]
    user_agent: Annotated[
        str | None,
        Meta(
            description="`User-Agent` of the sign-in, which names browser or app; null if it had none.",
            examples=["Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:133.0) Gecko/20100101 Firefox/133.0"],
        ),
    ]

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
        example={"refresh_token": "dGhlIHJlZnJlc2ggdG9rZW4gb2YgdGhlIHNlc3Npb24"},
        response=SessionOut,
        permission="public",
        counts="sign_ins",
        refused_as="session.refresh",
        rate="3000/minute",
        outward=True,
        problems=(RefreshTokenInvalid, TooManyRefreshes),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Get a new access token and the next refresh token of a session.

        The access token has the person's present role and brand. A refresh token is valid once. A retry within ten
        seconds, or later while the next token is unused, gets the same next token. Any other second use shows that two
        clients have the token: the session ends. If the response is 401, sign in again. A session is refreshed at most
        60 times an hour.
        """
        resp.media = SessionOut.of(sessions.refresh(req.context.body.refresh_token))


class Logout:
    """`/api/v1/auth/logout`: sign out."""

    @endpoint(
        operation_id="logOut",
        credentials=True,
        body=LogoutIn,
        example={"scope": "this"},
        body_optional=True,
        status=204,
        permission="authenticated",
        audit="session.end",
        before_mfa=True,
        problems=(MfaRequired,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Sign out: end this session, the caller's other sessions, or all of them.

        Access and refresh tokens of these sessions are refused from the next request on. A session that owes MFA can
        end itself only.
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
        example={"password": "chocolate con churros"},
        status=204,
        permission="authenticated",
        audit="session.step_up",
        slow=True,
        outward=True,
        before_mfa=True,  # enrolment of an authenticator requires recent authentication
        problems=(WrongPassword, InvalidCode, MfaRequired, TooMany, Invalid),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Confirm the caller's identity again with the password or a code of the authenticator.

        The session then counts as recently authenticated for ten minutes. Send it after
        `recent_authentication_required` (403), then repeat the refused request. A session with
        `mfa_required: "enrol"` sends the password. A session with `mfa_required: "verify"` sends the code to
        `POST /api/v1/auth/mfa/verify` instead, which has the same effect. Wrong passwords and codes are limited: ten
        passwords, or five codes, within 15 minutes.
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
        """List the caller's live sessions, newest first.

        For a page where people see their devices and sign out those that they don't know.
        """
        asked: PageQuery = req.context.query
        found = sessions.list_own(asked.limit + 1, decode_cursor(asked.cursor, tuple[datetime, UUID], scope=_LIST))
        items = [SessionSummaryOut.of(session, req.context.identity.session_id) for session in found]
        resp.media = page_of(items, asked.limit, lambda s: (s.created_at, s.id), scope=_LIST)


class Session:
    """`/api/v1/users/me/sessions/{session_id}`: one session of the caller."""

    @endpoint(operation_id="endSession", credentials=True, status=204, permission="authenticated", audit="session.end")
    def on_delete(self, req: Request, resp: Response, session_id: UUID) -> None:
        """End one of the caller's sessions.

        Its tokens are refused from the next request on. It may be the session of this request. Ended sessions are
        unknown (404).
        """
        sessions.end_one(session_id)
        audited(req, table="sessions", record_id=session_id)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/refresh", Refresh()),
    ("/api/v1/auth/logout", Logout()),
    ("/api/v1/auth/step-up", StepUp()),
    ("/api/v1/users/me/sessions", Sessions()),
    ("/api/v1/users/me/sessions/{session_id:uuid}", Session()),
]
