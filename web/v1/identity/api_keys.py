"""API keys, with which programs act for a brand.

A Brand Admin creates a key with scopes, which are permissions. A program sends the key in place of an access token:
`Authorization: Bearer cpk_…`.
"""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta

from models.core.messages import REASON, Message
from models.identity import api_keys
from models.identity.api_keys import TooManyApiKeys, UnknownScope
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import CreatedAt, Id, Text200

_LIST = "api_keys"

Scope = Annotated[
    str,
    Meta(
        max_length=60,
        pattern=r"^[a-z_]+:[a-z_]+$(?!\n)",
        description="A permission as `subject:verb`, one that `GET /api/v1/api-keys/scopes` lists as grantable.",
        examples=["campaigns:read"],
        extra={REASON: Message("must be the name of a scope, such as campaigns:read")},
    ),
]
KeyName = Annotated[
    Text200, Meta(description="Name that people recognise the key by, such as the program that uses it.")
]


class ApiKeyIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new API key."""

    name: Annotated[KeyName, Meta(examples=["Till of the Madrid shop"])]
    scopes: Annotated[
        list[Scope],
        Meta(
            min_length=1,
            max_length=50,
            description="What the key may do. Repeated scopes count once. They can't be changed later.",
            examples=[["campaigns:read", "analytics:read"]],
        ),
    ]
    expires_in_days: Annotated[int, Meta(ge=1, le=365, description="Lifetime in days. Default: 90.", examples=[90])] = (
        90
    )


class ApiKeyOut(msgspec.Struct, kw_only=True):
    """An API key, without its secret text."""

    id: Id
    name: Annotated[
        str, Meta(description="Name that people recognise the key by.", examples=["Till of the Madrid shop"])
    ]
    prefix: Annotated[
        str,
        Meta(
            description="The first characters of the key, which tell it from others in a configuration.",
            examples=["cpk_Q2FtcGFp"],
        ),
    ]
    scopes: Annotated[
        list[str],
        Meta(
            description="Permissions of the key, in alphabetical order.",
            examples=[["analytics:read", "campaigns:read"]],
        ),
    ]
    created_by: Annotated[
        UUID | None, Meta(description="Id of the person who created the key; null once the account is deleted.")
    ]
    created_at: CreatedAt
    expires_at: Annotated[Instant, Meta(description="Time from which requests with the key are refused, in UTC.")]
    last_used_at: Annotated[
        Instant | None,
        Meta(description="Time of the last request with the key, accurate to about a minute; null if never used."),
    ]
    revoked_at: Annotated[Instant | None, Meta(description="Time when the key was revoked; null if it was not.")]

    @classmethod
    def of(cls, key: api_keys.ApiKey) -> "ApiKeyOut":
        """Build the response from a row of `api_keys`."""
        return msgspec.convert(key, cls, from_attributes=True)


class NewApiKeyOut(ApiKeyOut):
    """A new API key, with its secret text."""

    key: Annotated[
        str,
        Meta(
            description="The key itself. Store it now: no other response contains it. Programs send it as"
            " `Authorization: Bearer cpk_…`.",
            examples=["cpk_Q2FtcGFpZ25zIGFuZCBzY2FucyBvZiBhIHNob3AgLi4uIQ"],
        ),
    ]


class ApiKeys:
    """`/api/v1/api-keys`: the keys of a brand."""

    @endpoint(query=PageQuery, response=Page[ApiKeyOut], permission="api_keys:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the API keys of the caller's brand, newest first.

        The list includes revoked and expired keys, so that their use in the audit trail can be attributed.
        """
        asked: PageQuery = req.context.query
        found = api_keys.page(asked.limit + 1, decode_cursor(asked.cursor, UUID, scope=_LIST))
        resp.media = page_of([ApiKeyOut.of(key) for key in found], asked.limit, lambda item: item.id, scope=_LIST)

    @endpoint(
        body=ApiKeyIn,
        example={"name": "Till of the Madrid shop", "scopes": ["campaigns:read", "jobs:read"], "expires_in_days": 30},
        response=NewApiKeyOut,
        status=201,
        permission="api_keys:write",
        audit="api_key.create",
        idempotent=True,
        secret=True,
        recent=True,
        problems=(TooManyApiKeys, UnknownScope),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create an API key for the caller's brand.

        The response is the only one that contains `key`. A program sends it in place of an access token, and acts for
        the brand within `scopes`. A brand has at most 50 keys that are neither revoked nor expired. The key stays valid
        when its creator leaves the brand. A password reset of its creator by mail revokes it.

        A retry with the same `Idempotency-Key` gets the same key for five minutes. After that it gets 409 with the
        key's `Location`: revoke that key and create another.
        """
        asked: ApiKeyIn = req.context.body
        made, text = api_keys.create(asked.name, asked.scopes, timedelta(days=asked.expires_in_days))
        shown = {"name": made.name, "prefix": made.prefix, "scopes": made.scopes, "expires_at": made.expires_at}
        audited(req, table="api_keys", record_id=made.id, after=shown)
        resp.location = f"/api/v1/api-keys/{made.id}"
        resp.media = NewApiKeyOut(**msgspec.structs.asdict(ApiKeyOut.of(made)), key=text)


class ApiKey:
    """`/api/v1/api-keys/{api_key_id}`: one key of a brand."""

    @endpoint(response=ApiKeyOut, permission="api_keys:read")
    def on_get(self, req: Request, resp: Response, api_key_id: UUID) -> None:
        """Read an API key of the caller's brand, without its secret text."""
        resp.media = ApiKeyOut.of(api_keys.get(api_key_id))

    @endpoint(operation_id="revokeApiKey", status=204, permission="api_keys:write", audit="api_key.revoke")
    def on_delete(self, req: Request, resp: Response, api_key_id: UUID) -> None:
        """Revoke an API key.

        The next request with the key is refused (401 `api_key_invalid`). It stays in the list. A key that was revoked
        before stays as it is.
        """
        key = api_keys.get(api_key_id)
        api_keys.revoke(api_key_id)
        was = {"name": key.name, "prefix": key.prefix, "scopes": key.scopes, "revoked_at": key.revoked_at}
        now = {"revoked_at": api_keys.get(api_key_id).revoked_at}
        audited(req, table="api_keys", record_id=api_key_id, before=was, after=now)


class ScopeOut(msgspec.Struct):
    """A permission that API keys may have."""

    scope: Annotated[str, Meta(description="Name of the permission.", examples=["campaigns:read"])]
    description: Annotated[
        str, Meta(description="What the permission allows.", examples=["read campaigns and their codes"])
    ]
    grantable: Annotated[
        bool, Meta(description="Whether the caller may grant it: only permissions of the caller's own role.")
    ]


class ScopesOut(msgspec.Struct):
    """All scopes of API keys."""

    items: Annotated[list[ScopeOut], Meta(description="Ordered by name. All of them: there are no pages.")]


class ApiKeyScopes:
    """`/api/v1/api-keys/scopes`: the scopes of API keys."""

    @endpoint(response=ScopesOut, permission="api_keys:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List the scopes that API keys may have, and whether the caller may grant them.

        `POST /api/v1/api-keys` accepts the grantable ones. A request with a key that lacks a scope is refused with
        `forbidden`, and its member `scope` names the missing one.
        """
        resp.media = ScopesOut([ScopeOut(one.scope, one.meaning, one.grantable) for one in api_keys.scopes()])


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/api-keys", ApiKeys()),
    ("/api/v1/api-keys/scopes", ApiKeyScopes()),
    ("/api/v1/api-keys/{api_key_id:uuid}", ApiKey()),
]
