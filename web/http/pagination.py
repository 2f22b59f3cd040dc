"""Cursor pagination: stable while rows are added and removed. Cursors are signed.

A list endpoint fetches one item more than the page holds, hands all of them to `page_of`, and reads the
next request's cursor back with `after`. The cursor is the last item's sort key, signed.
"""

import hmac
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from models.core import base64url, keys
from models.core.errors import Invalid

T = TypeVar("T")
K = TypeVar("K")

PURPOSE = "cursor"
SIGNATURE_BYTES = 16
MAX_LIMIT = 100


_CURSOR = "Vnq0m3yq0c5m1s4kq8xv2FsxLFsiMjAyNi0xMS0yMlQxODozMDowMFoiXV0"
NextCursor = Annotated[
    str | None,
    msgspec.Meta(
        description="Send it as `cursor` to get the next page; null on the last page. Clients can't read it: its "
        "contents may change.",
        examples=[_CURSOR],
    ),
]


class Page(msgspec.Struct, Generic[T]):
    """One page of a list."""

    items: Annotated[list[T], msgspec.Meta(description="Items of this page, in the order of the list.")]
    next_cursor: NextCursor = None


Limit = Annotated[
    int, msgspec.Meta(ge=1, le=MAX_LIMIT, description="Maximum number of items of the page. Default: 25.")
]
Cursor = Annotated[
    str,
    msgspec.Meta(
        max_length=1000,
        description="`next_cursor` of the previous page, unchanged; without it, the first page. It is valid for the "
        "same list with the same filters only.",
        examples=[_CURSOR],
    ),
]


class PageQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Query parameters of every list. Lists with filters inherit from it."""

    limit: Limit = 25
    cursor: Cursor | None = None


def page_of(items: Sequence[T], limit: int, key: Callable[[T], Any], *, scope: str = "") -> Page[T]:
    """Return the page made of `limit` + 1 fetched items.

    Args:
        items: up to `limit` + 1 items; the last one only shows that there is another page.
        limit: the most items of a page.
        key: the unique sort key of an item, e.g. `lambda c: (c.created_at, c.id)`.
        scope: name and filters of the list. A cursor is refused by a list with another scope.
    """
    page = list(items[:limit])
    more = len(items) > limit and page
    return Page(page, encode_cursor(key(page[-1]), scope) if more else None)


def encode_cursor(key: Any, scope: str = "") -> str:
    """Return a signed cursor that points behind a key."""
    version = keys.active_version()
    payload = msgspec.json.encode([version, key])
    return base64url.encode(_sign(version, payload, scope) + payload)


def decode_cursor(cursor: str | None, kind: type[K], *, scope: str = "") -> K | None:
    """Return the key of a cursor as `kind`, e.g. `tuple[datetime, UUID]`; None without a cursor.

    Raises:
        Invalid: the cursor was not issued for this list.
    """
    if cursor is None:
        return None
    try:
        raw = base64url.decode(cursor)
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        version = msgspec.json.decode(payload, type=tuple[int, msgspec.Raw])[0]
        genuine = hmac.compare_digest(signature, _sign(version, payload, scope))
        if not genuine or base64url.encode(raw) != cursor:  # base64 allows several encodings of the same bytes
            raise Invalid("cursor", "is not a cursor of this list: send `next_cursor` of its last page")
        return msgspec.json.decode(payload, type=tuple[int, kind])[1]  # type: ignore[valid-type]
    except (ValueError, KeyError, msgspec.DecodeError):
        raise Invalid("cursor", "is not a cursor of this list: send `next_cursor` of its last page") from None


def _sign(version: int, payload: bytes, scope: str) -> bytes:
    key = keys.derive(PURPOSE, version)
    return hmac.digest(key, len(scope).to_bytes(4, "big") + scope.encode() + payload, "sha256")[:SIGNATURE_BYTES]
