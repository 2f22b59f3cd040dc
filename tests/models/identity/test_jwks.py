"""Test remote keys with a real server: when they are fetched, kept and removed."""

import json
import socket
import threading

import pytest
from joserfc.jwk import ECKey, OctKey

from models.identity import jwks
from models.identity.jwks import (
    FETCH_WINDOW,
    FIRST_FETCH_PAUSE,
    MAX_AGE,
    MAX_BYTES,
    MAX_FETCHES,
    MAX_KID,
    MAX_STALE,
    MAX_UNKNOWN_KIDS,
    InvalidKeySet,
    RemoteKeys,
    parse,
)
from tests.fixtures.supabase import rsa_key


class Clock:
    """A clock that moves only when a test changes `now`."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def keys(supabase, clock):
    return RemoteKeys(f"{supabase.issuer}/.well-known/jwks.json", clock=clock)


def ask(keys, kid):
    """Look up a key as a verifier of tokens does."""
    if keys.needs_fetch(kid) != "no":
        keys.fetch()
    return keys.find(kid)


def test_known_key_is_fetched_once(keys, supabase):
    for _ in range(50):
        assert ask(keys, supabase.key.kid).algorithm == "ES256"

    assert supabase.server.fetches == 1


def test_flood_of_unknown_keys_causes_few_fetches(keys, supabase, clock):
    ask(keys, supabase.key.kid)

    for number in range(600):
        clock.now += 0.125
        assert ask(keys, f"unknown-{number}") is None

    assert supabase.server.fetches == 3 * MAX_FETCHES  # in 75 seconds
    assert not keys.may_lack_new_keys


def test_unknown_key_is_absent_once_a_set_was_fetched_for_it(keys, supabase, clock):
    ask(keys, supabase.key.kid)
    for number in range(MAX_FETCHES - 1):
        ask(keys, f"unknown-{number}")

    clock.now += 1
    assert ask(keys, "later") is None
    assert (keys.is_absent("unknown-0"), keys.is_absent("later")) == (True, False)
    assert keys.seconds_to_fetch() == FETCH_WINDOW - 1
    for _ in range(10):
        ask(keys, "unknown-0")
    assert supabase.server.fetches == MAX_FETCHES
    clock.now += FETCH_WINDOW
    ask(keys, "later")

    assert keys.is_absent("later")
    assert supabase.server.fetches == MAX_FETCHES + 1


def test_number_of_stored_unknown_key_ids_is_bounded(keys, supabase):
    ask(keys, supabase.key.kid)

    for number in range(2 * MAX_UNKNOWN_KIDS):
        ask(keys, f"unknown-{number}")
    ask(keys, "x" * (MAX_KID + 1))

    assert len(keys._unknown) == MAX_UNKNOWN_KIDS
    assert keys.is_absent("x" * (MAX_KID + 1))


def test_new_key_is_found_shortly_after_a_fetch(keys, supabase, clock):
    ask(keys, supabase.key.kid)
    clock.now += 0.1
    new = supabase.rotate().kid

    assert ask(keys, new) is not None


def test_new_and_old_key_are_found_after_a_rotation(keys, supabase, clock):
    old = supabase.key.kid
    ask(keys, old)
    new = supabase.rotate().kid
    clock.now += FETCH_WINDOW

    assert ask(keys, new) is not None
    assert ask(keys, old) is not None
    assert supabase.server.fetches == 2


def test_withdrawn_key_is_removed_by_the_next_fetch(keys, supabase, clock):
    old = supabase.key.kid
    ask(keys, old)
    supabase.server.keys = [supabase.rotate(published=False)]

    clock.now += MAX_AGE - 1
    assert keys.needs_fetch(old) == "no"
    clock.now += 2
    assert keys.needs_fetch(old) == "soon"

    assert ask(keys, old) is None
    assert not keys.may_lack_new_keys


def test_keys_are_kept_without_their_server_until_max_stale(keys, supabase, clock):
    kid = supabase.key.kid
    ask(keys, kid)
    supabase.server.stop()

    clock.now += MAX_STALE
    assert ask(keys, kid) is not None
    assert keys.may_lack_new_keys
    clock.now += 1
    assert ask(keys, kid) is None


def test_first_key_set_is_fetched_again_after_a_shorter_pause(keys, supabase, clock):
    supabase.server.answer = (503, b"")
    assert ask(keys, supabase.key.kid) is None
    assert keys.needs_fetch(supabase.key.kid) == "no"

    supabase.server.answer = None
    clock.now += FIRST_FETCH_PAUSE

    assert ask(keys, supabase.key.kid) is not None


@pytest.mark.parametrize(
    "answer",
    [
        (500, b'{"keys": []}'),
        (301, b'{"keys": []}'),
        (204, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, b'{"keys": {}}'),
        (200, b'{"keys": [1]}'),
        (200, b'{"keys": null}'),
        (200, b"[" * 50_000),
        (200, b" " * (MAX_BYTES + 1)),
        (200, b"\xff\xfe"),
    ],
    ids=lambda answer: f"{answer[0]} {answer[1][:14]!r}",
)
def test_invalid_key_set_keeps_the_known_keys(keys, supabase, clock, answer, caplog):
    kid = supabase.key.kid
    ask(keys, kid)
    supabase.server.answer = answer
    clock.now += MAX_AGE + 1

    assert ask(keys, kid) is not None

    assert keys.may_lack_new_keys
    assert "can't be fetched" in caplog.text


def test_fetch_from_silent_server_ends_at_the_timeout(keys, supabase, monkeypatch):
    monkeypatch.setattr(jwks, "TIMEOUT", 0.2)

    with supabase.server.stuck():
        assert ask(keys, supabase.key.kid) is None

    assert keys.may_lack_new_keys


def test_fetch_from_slow_server_ends_at_the_timeout(keys, drip, monkeypatch):
    monkeypatch.setattr(jwks, "TIMEOUT", 0.3)

    keys.url = drip
    keys.fetch()

    assert keys.may_lack_new_keys


@pytest.fixture
def drip():
    """Yield a server that sends a byte every 0.1 seconds without end."""
    listening = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve():
        connection, _ = listening.accept()
        with connection:
            try:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not over.wait(0.1):
                    connection.sendall(b"x")
            except OSError:
                over.set()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    over.set()
    listening.close()
    thread.join(5)


def jwk(key, **changes):
    made = {**key.as_dict(private=False), **changes}
    return {name: value for name, value in made.items() if value is not ...}


EC = ECKey.generate_key("P-256", auto_kid=True)


NO_KEYS = {
    "symmetric": OctKey.generate_key(256, auto_kid=True).as_dict(private=True),
    "another curve": jwk(ECKey.generate_key("P-384", auto_kid=True)),
    "another algorithm's": jwk(EC, alg="RS256"),
    "a public key for HS256": jwk(EC, alg="HS256"),
    "alg null": jwk(EC, alg=None),
    "for encryption": jwk(EC, use="enc"),
    "for signing": jwk(EC, key_ops=["sign"]),
    "half a point": jwk(EC, x=...),
    "no point of the curve": jwk(EC, x="AAAA"),
    "a point called a secret": jwk(EC, kty="oct", k="AAAA"),
    "a number for a name": jwk(EC, kid=1),
    "a short RSA key": {"kty": "RSA", "kid": "small", "n": "_" * 170 + "w", "e": "AQAB"},
    "nothing": {},
}


@pytest.mark.parametrize("member", NO_KEYS.values(), ids=NO_KEYS)
@pytest.mark.filterwarnings("ignore:Key size")
def test_unusable_key_of_a_set_is_skipped(member):
    assert list(parse(json.dumps({"keys": [member, jwk(EC, kid="good")]}).encode())) == ["good"]


def test_each_key_verifies_one_algorithm():
    found = parse(json.dumps({"keys": [jwk(EC, kid="e"), jwk(rsa_key(), kid="r")]}).encode())

    assert {kid: key.algorithm for kid, key in found.items()} == {"e": "ES256", "r": "RS256"}


def test_empty_key_set_is_valid():
    assert parse(b'{"keys": []}') == {}
    with pytest.raises(InvalidKeySet):
        parse(b'{"key": []}')


def test_token_without_kid_needs_a_set_of_one_key(keys, supabase, clock):
    assert ask(keys, None) is not None
    supabase.rotate()
    clock.now += MAX_AGE + 1
    keys.fetch()

    assert ask(keys, None) is None
