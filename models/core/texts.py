"""Texts from clients: validation, the stored form, and escaping for a terminal.

Standard library only: `scripts/devstack` imports this module before any package is installed.
"""

import json
import re
import unicodedata
from typing import Any

from models.core.messages import Message

UNSAFE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Characters for a regular expression's class: C0, DEL, C1, line and paragraph separators, direction controls."""

_UNSAFE = re.compile(f"[{UNSAFE}]")
# Default_Ignorable_Code_Point of Unicode 15 (DerivedCoreProperties.txt), and U+2800, a Braille cell without dots.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

MAX_LINE_CHARACTERS = 200
"""Maximum length of a name, label or reason."""


def line(text: str) -> str:
    """Return the stored form of a name, label or reason: NFC, trimmed, each run of blanks as one space.

    Raises:
        ValueError: the text is not one line, has no visible character, or is too long; names the reason.
    """
    if _UNSAFE.search(text):
        raise ValueError(Message("must not contain control characters, line breaks or text direction controls"))
    if any(_is_noncharacter(character) for character in text):
        raise ValueError(Message("must not contain Unicode noncharacters, such as U+FFFE"))
    found = " ".join(unicodedata.normalize("NFC", text).split())
    if not any(_is_visible(character) for character in found):
        raise ValueError(Message("must contain a visible character"))
    if len(found) > MAX_LINE_CHARACTERS:
        raise ValueError(Message("must have at most {most} characters", most=MAX_LINE_CHARACTERS))
    return found


def _is_noncharacter(character: str) -> bool:
    code = ord(character)
    return 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNPS" and not _INVISIBLE.match(character)


def for_xml(text: str) -> str:
    """Return the text without characters that XML 1.0 forbids."""
    return _NOT_XML.sub("", text)


UNDETERMINED = "und"
"""Language code for an unknown language (ISO 639-2)."""

_TAG = re.compile(r"[A-Za-z0-9]{1,8}(?:[-_][A-Za-z0-9]{1,8})*", re.ASCII)


def locale(tag: str) -> str:
    """Reduce a language tag (BCP 47, in any case, also with underscores) to language and region, such as `es-MX`.

    Scripts, variants, extensions and private use are dropped. A tag without a language of 2 or 3 letters is `und`.

    Raises:
        ValueError: the text is not a language tag.
    """
    if not _TAG.fullmatch(tag):
        raise ValueError(Message("must be a language tag, such as es or es-MX"))
    language, *rest = re.split("[-_]", tag)
    if not re.fullmatch("[A-Za-z]{2,3}", language):
        return UNDETERMINED
    # RFC 5646, section 2.1: up to three extended languages, then a script, then the region.
    while rest and re.fullmatch("[A-Za-z]{3}", rest[0]):
        rest.pop(0)
    if rest and re.fullmatch("[A-Za-z]{4}", rest[0]):
        rest.pop(0)
    has_region = bool(rest) and re.fullmatch("[A-Za-z]{2}|[0-9]{3}", rest[0])
    return f"{language.lower()}-{rest[0].upper()}" if has_region else language.lower()


def locale_or_none(tag: str) -> str | None:
    """Return the language and region of a tag as `locale` does, or None if the text is not a language tag."""
    try:
        return locale(tag)
    except ValueError:
        return None


def escape(text: str, *, keep: str = "") -> str:
    r"""Return the text for a terminal: control and direction characters become `\x1b`, except those in `keep`."""
    return _UNSAFE.sub(lambda m: m[0] if m[0] in keep else m[0].encode("unicode_escape").decode(), text)


def json_for_terminal(value: Any) -> str:
    r"""Return indented JSON for a terminal. Control and direction characters become `\u001b`."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _UNSAFE.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def folded(text: str) -> str:
    """Return a text for comparisons: without accents, case and punctuation, and with single blanks."""
    letters = (one for one in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(one))
    return " ".join("".join(one if one.isalnum() else " " for one in letters).split())
