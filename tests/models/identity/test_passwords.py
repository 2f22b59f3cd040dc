"""Test the strength of passwords: work is bounded for any characters, and common words are refused."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zxcvbn import matching

from models.core.errors import Invalid
from models.identity import passwords

SIGNS = "".join(sorted({sign for signs in matching.L33T_TABLE.values() for sign in signs}))
MOST_PASSES = 60
"""Passes over a password that an estimate may make; an ordinary phrase takes 2, the slowest known one took hundreds."""


class Counted:
    """Count the passes that zxcvbn makes over a password and its readings, with all dictionaries."""

    def __init__(self):
        self.passes = 0
        self._original = matching.dictionary_match

    def __call__(self, *args, **options):
        self.passes += 1
        return self._original(*args, **options)

    def __enter__(self):
        matching.dictionary_match = self
        return self

    def __exit__(self, *_):
        matching.dictionary_match = self._original


@pytest.mark.parametrize(
    "password", ["4@8({[<36911!|71!0$5+7%2", "4@8({[<36911!|71!0$5+7%2" * 5, "(1(1(1|7|7|7@4@4$5$5+7+7"]
)
def test_strength_of_ambiguous_signs_takes_bounded_work(password):
    with Counted() as counted:
        passwords.require_good(password, "ana@people.example", "Ana")

    assert counted.passes <= MOST_PASSES


@settings(max_examples=50, deadline=None)
@given(st.text(SIGNS, min_size=10, max_size=128) | st.text(min_size=10, max_size=128))
def test_strength_of_any_password_takes_bounded_work(password):
    with Counted() as counted:
        passwords.strength(password, ["ana@people.example", "Ana"])

    assert counted.passes <= MOST_PASSES


@pytest.mark.parametrize(
    "password", ["p@ssw0rd123", "4dm1n1str4t0r", "(0mp4n0n(0mp4n0n", "p4$$w0rd1|!", "@na|!71@na|!71"]
)
def test_common_word_in_signs_is_refused(password):
    with pytest.raises(Invalid):
        passwords.require_good(password, "analilti@people.example", "Ana")


@pytest.mark.parametrize("length", [24, 25, 60])
def test_own_address_of_any_length_as_password_is_refused(length):
    address = f"{'qx7vk9zj2mw4tb6nd8rf' * 3}"[: length - len("@fans.example")] + "@fans.example"

    with pytest.raises(Invalid):
        passwords.require_good(address.title(), address)


def test_strength_is_estimated_with_own_words_only(monkeypatch):
    seen, entered, over = [], threading.Event(), threading.Event()

    def slow(password, known):
        entered.set()
        over.wait(10)
        seen.append((threading.current_thread().name, known))
        return {"score": 4}

    monkeypatch.setattr(passwords, "zxcvbn", slow)
    first = threading.Thread(target=passwords.strength, args=("a password", ["first"]), name="first")
    second = threading.Thread(target=passwords.strength, args=("a password", ["second"]), name="second")
    first.start()
    assert entered.wait(10)
    entered.clear()
    second.start()
    assert not entered.wait(0.1)  # zxcvbn keeps the words in a global dictionary
    over.set()
    first.join(10)
    second.join(10)

    assert seen == [("first", ["first"]), ("second", ["second"])]


@pytest.mark.parametrize(
    "password",
    [
        *("password123", "qwertyuiop12", "1234567890a", "aaaaaaaaaaaaaaaa", "x" * 127 + "a"),
        *("ana.perez@x.example", "Ana Pérez 1"),
    ],
)
def test_guessable_password_is_refused(password):
    with pytest.raises(Invalid) as refused:
        passwords.require_good(password, "ana.perez@x.example", "Ana Pérez")

    assert refused.value.extra["errors"][0]["field"] == "password"


def test_strength_of_long_password_is_estimated_in_bounded_time(monkeypatch):
    seen = []
    monkeypatch.setattr(passwords, "zxcvbn", lambda text, words: seen.append(text) or {"score": 4})

    passwords.require_good("4@8({[<369|1!70$5+%2" * 6, "ana@example.com")

    assert [len(text) for text in seen] == [24, 24]  # two readings of signs as letters
