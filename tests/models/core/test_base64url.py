"""base64url: one helper for every token, key and cursor."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core import base64url


@given(st.binary(max_size=70))
def test_decode_of_encoded_bytes_returns_them(raw):
    text = base64url.encode(raw)

    assert "=" not in text
    assert base64url.decode(text) == base64url.decode(text + "=" * (-len(text) % 4)) == raw


def test_encode_uses_the_url_alphabet():
    assert base64url.encode(b"\xfb\xff\xfe") == "-__-"
    assert base64url.decode("-__-") == b"\xfb\xff\xfe"


def test_decode_of_other_text_fails():
    for text in ("+//+", "ab c", "ab\n", "é", "a", "ab===", "a=b"):
        with pytest.raises(ValueError, match="base64"):
            base64url.decode(text)
