"""Texts from clients: validation, stored form, escaping for a terminal."""

import json
import unicodedata
import xml.dom.minidom

from hypothesis import given
from hypothesis import strategies as st

from models.core import texts

INVISIBLE = ["\u200b", "ㅤ", "⠀", "\ufeff", "͏", "\xad", "\U000e0020", "ᅟ", "ᅠ", "ﾠ", "\u2060", "\u180e", "️", "́", "\ue000"]
UNSAFE = [*map(chr, [*range(0x20), *range(0x7F, 0xA0)]), *"\u2028\u2029\u061c\u200e\u200f\u202a\u202e\u2066\u2069"]


def accepted(text):
    try:
        return texts.line(text)
    except ValueError:
        return None


@given(st.text(max_size=300))
def test_accepted_line_is_stable_normalised_and_visible(text):
    stored = accepted(text)

    if stored is not None:
        assert accepted(stored) == stored
        assert unicodedata.is_normalized("NFC", stored)
        assert stored == " ".join(stored.split())
        assert 1 <= len(stored) <= texts.MAX_LINE_CHARACTERS
        assert not any(character in stored for character in UNSAFE)
        assert texts.for_xml(stored) == stored
        xml.dom.minidom.Document().createTextNode(stored)


@given(
    st.text(
        st.characters(categories=["L", "N"], exclude_characters="\u115f\u1160\u3164\uffa0"), min_size=1, max_size=60
    )
)
def test_letters_and_digits_are_accepted_in_any_spelling(text):
    stored = accepted(text)

    assert stored == unicodedata.normalize("NFC", text)
    assert accepted(unicodedata.normalize("NFD", text)) == stored
    assert accepted(f" \u00a0{text}\u3000 ") == stored
    assert accepted(f"{text}\u2003\u00a0 {text}") == f"{stored} {stored}"


def test_line_without_visible_character_is_refused():
    lines = [character * 3 + " " + character for character in INVISIBLE]

    assert [line for line in lines if accepted(line) is not None] == []


def test_line_with_control_character_is_refused():
    lines = [f"a{character}b" for character in UNSAFE]

    assert [line for line in lines if accepted(line) is not None] == []


@given(st.integers(0, 16), st.sampled_from([0xFFFE, 0xFFFF]), st.integers(0xFDD0, 0xFDEF))
def test_line_with_noncharacter_is_refused(plane, last, middle):
    assert accepted(f"a{chr(plane << 16 | last)}") is None
    assert accepted(f"a{chr(middle)}") is None


def test_line_of_any_script_is_accepted():
    lines = ["👩‍👩‍👧", "می‌خواهم", "x", "7", "—", "€", "日本", "한글"]

    assert [accepted(line) for line in lines] == lines


@given(st.text())
def test_text_without_characters_that_xml_forbids_is_valid(text):
    kept = texts.for_xml(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    xml.dom.minidom.parseString(f"<t>{kept}</t>")


REDUCED = {
    "es": "es",
    "ES": "es",
    "es_MX": "es-MX",
    "es-mx": "es-MX",
    "en-US-u-mu-celsius": "en-US",
    "es-u-ms-metric": "es",
    "en-x-private": "en",
    "x-private": "und",
    "i-klingon": "und",
    "zh-Hant-TW": "zh-TW",
    "zh_Hant": "zh",
    "zh-yue-HK": "zh-HK",
    "zh-cmn-Hans-CN": "zh-CN",
    "es-419": "es-419",
    "sl-rozaj-biske-1994": "sl",
    "de-DE-u-co-phonebk-x-a-very-long-private-part": "de-DE",
    "en-u-rg-gbzzzz": "en",
    "root": "und",
}


def test_language_tag_is_reduced_to_language_and_region():
    assert {tag: texts.locale(tag) for tag in REDUCED} == REDUCED


SUBTAG = st.text("abcxyzABCXYZ0189", min_size=1, max_size=8)


@given(st.lists(SUBTAG, min_size=1, max_size=20), st.sampled_from("-_"))
def test_every_well_formed_language_tag_is_reduced(subtags, separator):
    tag = separator.join(subtags)

    kept = texts.locale(tag)

    assert texts.locale(kept) == kept
    assert texts.locale(tag.swapcase()) == kept
    assert len(kept) <= 7


def test_text_that_is_no_language_tag_is_refused():
    tags = ["", "-", "es-", "es--MX", "es MX", "ñ", "es-MX\n", "abcdefghi", "../en", "es.UTF-8"]

    assert [tag for tag in tags if texts.locale_or_none(tag) is not None] == []


@given(st.text())
def test_escaped_text_has_no_control_characters(text):
    shown = texts.escape(text)

    assert not any(character in shown for character in UNSAFE)
    assert texts.escape("".join(c for c in text if c not in UNSAFE)) == "".join(c for c in text if c not in UNSAFE)


@given(st.text())
def test_json_for_a_terminal_decodes_to_the_same_value(text):
    shown = texts.json_for_terminal({"a": text})

    assert json.loads(shown) == {"a": text}
    assert not any(character in shown for character in UNSAFE if character != "\n")


def test_escape_sequence_is_shown_as_hexadecimal():
    assert texts.escape("\x1b[31mred\x9b\u202e\n", keep="\n") == "\\x1b[31mred\\x9b\\u202e\n"
