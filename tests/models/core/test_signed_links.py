"""Tokens of one-time links, and their changes by mail programs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core import signed_links
from models.core.database import new_id
from models.identity import accounts, credentials
from models.tenants import invitations

PURPOSES = (accounts.SIGNUP, invitations.LINK_PURPOSE, credentials.RESET, credentials.CONFIRM, credentials.UNDO_CHANGE)
_before = st.text(" \t\r\n\u00a0", max_size=3)
_after = st.lists(st.sampled_from(["=", "==", "%3D", "%3d", ".", " ", "\r\n", "\u00a0"]), max_size=4).map("".join)


@given(st.uuids(), st.sampled_from(PURPOSES), _before, _after)
def test_token_survives_mail_programs_and_ends_in_a_letter(id, purpose, before, after):
    token = signed_links.make(purpose, id)

    assert token[-1].isalpha()
    assert signed_links.read(purpose, before + token + after) == id


def test_link_of_one_purpose_is_refused_for_another():
    token = signed_links.make(credentials.RESET, new_id())

    for purpose in set(PURPOSES) - {credentials.RESET}:
        with pytest.raises(signed_links.LinkInvalid):
            signed_links.read(purpose, token)


def test_token_with_other_letters_is_refused():
    token = signed_links.make(credentials.RESET, new_id())

    for changed in (token[:-1], token[1:], f"{token}A", f"\u212a{token[1:]}"):
        with pytest.raises(signed_links.LinkInvalid):
            signed_links.read(credentials.RESET, changed)
