"""Tokens of printed codes."""

import base64
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.campaigns import codes
from models.core import keys

VERSION = keys.active_version()


@given(st.uuids())
def test_a_token_says_which_code_it_is_for(code_id: UUID):
    assert codes.read_token(codes.make_token(code_id, VERSION)) == code_id


@given(st.uuids(), st.integers(0, 26), st.integers(1, 255))
def test_a_token_with_any_byte_changed_says_nothing(code_id: UUID, position: int, difference: int):
    raw = bytearray(base64.urlsafe_b64decode(codes.make_token(code_id, VERSION)))

    raw[position] ^= difference

    assert codes.read_token(base64.urlsafe_b64encode(raw).decode()) is None


@given(st.text(max_size=60))
def test_whatever_else_a_phone_reads_is_no_code(text: str):
    assert codes.read_token(text) is None


@pytest.mark.parametrize(
    "change", [lambda t: t + "=", lambda t: " " + t, lambda t: t + "\n", lambda t: t[:-1], lambda t: t * 2]
)
def test_a_token_is_written_in_one_way_only(change):
    assert codes.read_token(change(codes.make_token(uuid4(), VERSION))) is None


def test_a_token_fits_into_a_coarse_picture():
    assert len(codes.make_token(uuid4(), VERSION)) == 36


def test_tokens_of_a_key_that_is_no_longer_active_are_still_read(monkeypatch):
    code_id = uuid4()
    old = codes.make_token(code_id, VERSION)
    fresh = {VERSION + 1: b"n" * 32, VERSION: keys._roots()[VERSION]}
    monkeypatch.setattr(keys, "_roots", lambda: fresh)

    assert codes.read_token(old) == code_id
    assert codes.read_token(codes.make_token(code_id, VERSION + 1)) == code_id
    assert old != codes.make_token(code_id, VERSION + 1)


def test_tokens_of_a_key_that_is_gone_say_nothing(monkeypatch):
    old = codes.make_token(uuid4(), VERSION)
    monkeypatch.setattr(keys, "_roots", lambda: {VERSION + 1: b"n" * 32})

    assert codes.read_token(old) is None


def test_the_url_of_a_code_leads_to_the_front_end():
    token = codes.make_token(uuid4(), VERSION)

    assert codes.url_of(token).endswith(f"/s/{token}")
