"""Test pagination: every item is listed once, and foreign cursors are refused."""

import base64
import itertools
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core import keys
from models.core.errors import Invalid
from web.http.pagination import decode_cursor, encode_cursor, page_of

WHEN = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
WHO = UUID("0198a3f0-0000-7000-8000-000000000001")


def test_following_cursors_returns_every_item_once_in_order():
    everything, found, cursor = list(range(23)), [], None
    for _ in itertools.count():
        behind = decode_cursor(cursor, int)
        page = page_of([n for n in everything if behind is None or n > behind][:6], 5, lambda n: n)
        found += page.items
        if (cursor := page.next_cursor) is None:
            break

    assert found == everything


def test_full_last_page_has_no_cursor():
    assert page_of([1, 2], 2, lambda n: n).next_cursor is None
    assert page_of([], 2, lambda n: n).next_cursor is None
    assert page_of([1, 2, 3], 2, lambda n: n).next_cursor is not None


def test_cursor_key_is_decoded_with_its_types():
    cursor = encode_cursor((WHEN, WHO), "things")

    assert decode_cursor(cursor, tuple[datetime, UUID], scope="things") == (WHEN, WHO)


def test_missing_cursor_is_decoded_to_none():
    assert decode_cursor(None, int) is None


@pytest.mark.parametrize("wrong", ["", "x", "!!!!", "A" * 1000, "é", "null", "eyJhbGciOiJub25lIn0.e30."])
def test_malformed_cursor_returns_422_with_its_name(wrong):
    with pytest.raises(Invalid) as refusal:
        decode_cursor(wrong, int)

    assert refusal.value.extra["errors"] == [
        {"field": "cursor", "reason": "is not a cursor of this list: send `next_cursor` of its last page"}
    ]


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_cursor_with_any_changed_byte_is_refused(position, change):
    raw = bytearray(base64.urlsafe_b64decode(encode_cursor(12345) + "=="))
    raw[position % len(raw)] ^= change

    with pytest.raises(Invalid):
        decode_cursor(base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode(), int)


def test_other_encodings_of_a_cursor_are_refused():
    cursor = encode_cursor("fourteen")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    for other in (cursor + "=", cursor + "==", *(cursor[:-1] + letter for letter in letters if letter != cursor[-1])):
        with pytest.raises(Invalid):
            decode_cursor(other, str)


def test_cursor_of_another_list_or_type_is_refused():
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor(5, "things"), int, scope="others")
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor("five", "things"), int, scope="things")


def test_scope_and_key_of_a_cursor_are_signed_separately():
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor("b", "a"), str, scope="ab")
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor(5), int, scope="things")


def test_cursor_is_valid_until_its_key_is_retired(monkeypatch):
    old, new = "1:" + "a" * 43, "2:" + "b" * 43

    def use(secret_keys):
        monkeypatch.setattr(keys, "settings", type("S", (), {"secret_keys": secret_keys}))
        keys._roots.cache_clear()
        keys.derive.cache_clear()

    try:
        use(old)
        cursor = encode_cursor(5)
        use(f"{new},{old}")
        assert decode_cursor(cursor, int) == 5
        use(new)
        with pytest.raises(Invalid):
            decode_cursor(cursor, int)
    finally:
        monkeypatch.undo()
        keys._roots.cache_clear()
        keys.derive.cache_clear()
