"""API keys, with which programs act for a brand."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from falcon.asgi import Request, Response

from models.identity import api_keys
from models.identity.api_keys import TooManyApiKeys
from web.http.datetimes import Instant
from web.http.endpoint import Page, PageQuery, audited, decode_cursor, endpoint, page_of
from web.http.fields import Text200

_LIST = "api_keys"

Scope = Annotated[
    str,
    msgspec.Meta(
        max_length=60,
        pattern=r"^[a-z_]+:[a-z_]+$(?!\n)",
        description="A permission of the caller that API keys may have.",
        examples=["campaigns:read"],
    ),
]


class ApiKeyIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A new API key."""

    name: Text200
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=50)]
    expires_in_days: Annotated[int, msgspec.Meta(ge=1, le=365)] = 90


class ApiKeyOut(msgspec.Struct, kw_only=True):
    """An API key. `prefix`: its first characters. `last_used_at`: accurate to about a minute."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_by: UUID | None
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None
    revoked_at: Instant | None

    @classmethod
    def of(cls, key: api_keys.ApiKey) -> "ApiKeyOut":
        """Build the response from a row of `api_keys`."""
        return msgspec.convert(key, cls, from_attributes=True)


class NewApiKeyOut(ApiKeyOut):
    """A new API key. `key` is returned once."""

    key: str


class ApiKeys:
    """`/api/v1/api-keys`: the keys of a brand."""

    @endpoint(query=PageQuery, response=Page[ApiKeyOut], permission="api_keys:read")
    def on_get(self, req: Request, resp: Response) -> None:
        """List a brand's API keys, newest first, including revoked and expired ones."""
        asked: PageQuery = req.context.query
        found = api_keys.page(asked.limit + 1, decode_cursor(asked.cursor, UUID, scope=_LIST))
        resp.media = page_of([ApiKeyOut.of(key) for key in found], asked.limit, lambda item: item.id, scope=_LIST)

    # Not idempotent: that would keep the answer, and with it the key.
    @endpoint(
        body=ApiKeyIn,
        response=NewApiKeyOut,
        status=201,
        permission="api_keys:write",
        audit="api_key.create",
        recent=True,
        problems=(TooManyApiKeys,),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """Create an API key with permissions of the caller. Send it as `Authorization: Bearer cpk_…`."""
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
        """Read an API key."""
        resp.media = ApiKeyOut.of(api_keys.get(api_key_id))

    @endpoint(operation_id="revokeApiKey", status=204, permission="api_keys:write", audit="api_key.revoke")
    def on_delete(self, req: Request, resp: Response, api_key_id: UUID) -> None:
        """Revoke an API key. It is refused from the next request on."""
        key = api_keys.get(api_key_id)
        api_keys.revoke(api_key_id)
        was = {"name": key.name, "prefix": key.prefix, "scopes": key.scopes, "revoked_at": key.revoked_at}
        now = {"revoked_at": api_keys.get(api_key_id).revoked_at}
        audited(req, table="api_keys", record_id=api_key_id, before=was, after=now)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/api-keys", ApiKeys()),
    ("/api/v1/api-keys/{api_key_id:uuid}", ApiKey()),
]
