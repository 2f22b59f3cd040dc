"""Tokens of printed codes."""

import base64
from uuid import UUID, uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

from models.campaigns import codes
from models.core import keys

VERSION = keys.active_version()


@given(st.uuids())
def test_token_contains_the_id_of_its_code(code_id: UUID):
    assert codes.read_token(codes.make_token(code_id, VERSION)) == code_id


@given(st.uuids(), st.integers(0, 26), st.integers(1, 255))
def test_token_with_any_byte_changed_is_refused(code_id: UUID, position: int, difference: int):
    raw = bytearray(base64.urlsafe_b64decode(codes.make_token(code_id, VERSION)))

    raw[position] ^= difference

    assert codes.read_token(base64.urlsafe_b64encode(raw).decode()) is None


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_other_text_is_refused(text: str):
    assert codes.read_token(text) is None


def test_other_spellings_of_a_token_are_refused():
    token = codes.make_token(uuid4(), VERSION)

    for other in (token + "=", " " + token, token + "\n", token[:-1], token * 2, token.replace("-", "+") + "==="):
        assert codes.read_token(other) is None


def test_token_in_url_of_a_code_is_found():
    token = codes.make_token(uuid4(), VERSION)
    urls = (codes.url_of(token), f"HTTPS://app.example/es/s/{token}/", f"https://app.example:8443/s/{token}?utm=x#top")

    assert [codes.token_in(url) for url in urls] == [token] * len(urls)


def test_text_that_is_no_url_of_a_code_stays_unchanged():
    token = codes.make_token(uuid4(), VERSION)
    others = (
        token,
        f"app.example/s/{token}",
        f"https://app.example/x?s=/s/{token}",
        f"https://app.example/s/{token}/x",
    )

    assert [codes.token_in(other) for other in others] == list(others)
    assert codes.token_in("http://[/s/") == "http://[/s/"


def test_token_has_36_characters():
    assert len(codes.make_token(uuid4(), VERSION)) == 36


def test_token_of_a_previous_key_is_read(monkeypatch):
    code_id = uuid4()
    old = codes.make_token(code_id, VERSION)
    fresh = {VERSION + 1: b"n" * 32, VERSION: keys._roots()[VERSION]}
    monkeypatch.setattr(keys, "_roots", lambda: fresh)

    assert codes.read_token(old) == code_id
    assert codes.read_token(codes.make_token(code_id, VERSION + 1)) == code_id
    assert old != codes.make_token(code_id, VERSION + 1)


def test_token_of_a_deleted_key_is_refused(monkeypatch):
    old = codes.make_token(uuid4(), VERSION)
    monkeypatch.setattr(keys, "_roots", lambda: {VERSION + 1: b"n" * 32})

    assert codes.read_token(old) is None


def test_url_of_a_code_leads_to_the_scan_page():
    token = codes.make_token(uuid4(), VERSION)

    assert codes.url_of(token).endswith(f"/s/{token}")
