"""Test the rotation of root secrets: values of an older root are still found."""

from datetime import timedelta
from uuid import uuid4

import pytest

from models.core import keys, signed_links
from models.core.aead import DecryptionError
from models.core.signed_links import LinkInvalid
from models.identity import api_keys, sessions, totp
from models.identity.refresh_tokens import RefreshToken


@pytest.fixture
def rotate(monkeypatch):
    """Return a function that puts a new root in front, and removes the older ones with `keep=False`."""

    def put_in_front(*, keep=True):
        newest = max(keys.versions()) + 1
        roots = {newest: bytes([newest]) * 32, **(keys._roots() if keep else {})}
        keys.derive.cache_clear()
        monkeypatch.setattr(keys, "_roots", lambda: roots)
        api_keys._known.clear()

    yield put_in_front
    keys.derive.cache_clear()


def test_link_of_older_root_is_read_until_the_root_is_dropped(rotate):
    id = uuid4()
    token = signed_links.make("signup", id)
    rotate()
    rotate()

    assert signed_links.read("signup", token) == id
    assert signed_links.make("signup", id) != token
    rotate(keep=False)
    with pytest.raises(LinkInvalid):
        signed_links.read("signup", token)


def test_api_key_of_older_root_is_identified_among_others(rotate, member):
    boss = member("Brand Admin")
    with boss.acting():
        made = [api_keys.create("till", ["campaigns:read"], timedelta(days=1)) for _ in range(3)]
    rotate()
    with boss.acting():
        made.append(api_keys.create("till", ["campaigns:read"], timedelta(days=1)))

    assert [api_keys.identify(text).actor_id for _, text in made] == [key.id for key, _ in made]
    rotate(keep=False)
    for _, text in made:
        with pytest.raises(api_keys.ApiKeyInvalid):
            api_keys.identify(text)


def test_refresh_token_outlives_all_roots(rotate, member, client):
    account = member()
    session = sessions.sign_in(account.email, account.password, network="test")
    rotate(keep=False)

    following = sessions.refresh(session.refresh_token)

    assert following.person.id == account.user_id
    assert RefreshToken(following.refresh_token).hash != RefreshToken(session.refresh_token).hash


def test_totp_secret_of_older_root_is_decrypted_for_its_user_only(rotate):
    user_id, secret = uuid4(), totp.new_secret()
    stored = totp.encrypt(secret, user_id)
    rotate()

    assert totp.decrypt(stored, user_id) == secret
    assert totp.encrypt(secret, user_id).key_version != stored.key_version
    with pytest.raises(DecryptionError):
        totp.decrypt(stored, uuid4())
