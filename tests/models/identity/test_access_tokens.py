"""Test access tokens: signing keys, rotation of keys, and expiry."""

import base64
import dataclasses
import json

import pytest
import time_machine

from models.core.database import new_id
from models.core.errors import Unauthenticated
from models.identity import access_tokens
from scripts.commands.keys.token_keys import SPREAD, TokenKeys
from scripts.devstack.secrets import new_key
from settings import settings

START = 1_800_000_000


@pytest.fixture
def restart(monkeypatch):
    """Return `restart(key_set)`: reset the module as in a new process with this AUTH_JWKS."""

    def begin(text):
        monkeypatch.setattr(access_tokens, "settings", dataclasses.replace(settings, auth_jwks=text))
        monkeypatch.setattr(access_tokens, "_verified", {})
        access_tokens._keys.cache_clear()

    yield begin
    monkeypatch.undo()
    access_tokens._keys.cache_clear()


@pytest.fixture
def clock():
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def issue():
    return access_tokens.issue(user_id=new_id(), session_id=new_id(), user_role="Fan", brand_id=None)


def one_key():
    return json.dumps({"keys": [new_key(START)]})


def changed(text, verb, at):
    keys = TokenKeys.read(text, at)
    if verb == "add":
        keys.add()
    else:
        getattr(keys, verb)(None, force=False)
    return keys.text()


def test_rotation_of_signing_keys_keeps_sessions(restart, clock):
    texts = [one_key()]
    restart(texts[0])
    first = issue()

    # The new key is published and signs nothing: processes that have not restarted yet lack it.
    clock.move_to(START + 60)
    texts.append(changed(texts[0], "add", START + 60))
    restart(texts[1])
    assert len(access_tokens.public_keys()["keys"]) == 2
    second = issue()
    for text in texts:
        restart(text)
        assert all(access_tokens.verify(token) for token in (first, second))

    # The new key signs: processes of the step before have it, and tokens of their old key stay valid.
    promoted = START + 60 + SPREAD
    clock.move_to(promoted)
    texts.append(changed(texts[1], "promote", promoted))
    restart(texts[1])
    last_of_old = issue()
    restart(texts[2])
    first_of_new = issue()
    for text in texts[1:]:
        restart(text)
        assert all(access_tokens.verify(token) for token in (first, second, last_of_old, first_of_new))

    # The old key is removed once the last token that it can have signed has expired.
    retired = promoted + SPREAD + access_tokens.LIFETIME
    clock.move_to(retired - 10)
    restart(texts[2])
    latest = issue()
    clock.move_to(retired)
    texts.append(changed(texts[2], "retire", retired))
    restart(texts[3])
    assert len(access_tokens.public_keys()["keys"]) == 1
    assert access_tokens.verify(latest)


def test_token_of_retired_key_is_refused(restart, clock):
    old = TokenKeys.read(one_key(), START)
    restart(old.text())
    token = issue()
    old.add()
    old.promote(None, force=True)
    restart(old.text())
    assert access_tokens.verify(token)

    old.retire(None, force=True)
    restart(old.text())

    with pytest.raises(Unauthenticated):
        access_tokens.verify(token)


def test_header_of_token_names_its_signing_key(restart, clock):
    text = changed(one_key(), "add", START)
    restart(text)

    head = json.loads(head_of(issue()))

    assert head["kid"] == json.loads(text)["keys"][0]["kid"]
    assert head["alg"] == "ES256"


def head_of(token):
    part = token.partition(".")[0]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_published_keys_have_no_private_part(restart):
    keys = TokenKeys.read(one_key(), START)
    keys.add()
    keys.promote(None, force=True)
    restart(keys.text())

    for key in access_tokens.public_keys()["keys"]:
        assert set(key) == {"kty", "crv", "x", "y", "kid", "use", "alg"}


def test_token_after_its_lifetime_is_refused(restart, clock):
    restart(one_key())
    token = issue()
    assert access_tokens.verify(token)

    clock.shift(access_tokens.LIFETIME + 1)

    with pytest.raises(Unauthenticated, match="expired"):
        access_tokens.verify(token)
