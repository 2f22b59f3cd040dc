"""Texts of problems in each language.

Errors are raised with English texts (`models.core.messages`), which logs and the audit trail keep. The text is
translated when the problem is rendered. The English template is the key, so the place that raises an error names no
language. A text without a translation, such as a message of a library, is left out of an answer in another language.
"""

from models.core.messages import Joined, Message
from web.http.translations import spanish

ENGLISH = "en"
SPANISH = "es"
LANGUAGES = (ENGLISH, SPANISH)
"""Languages of problems. The first is that of clients without a preference."""

_TITLES: dict[str, dict[str, str]] = {SPANISH: spanish.TITLES}
_TEXTS: dict[str, dict[str, str]] = {SPANISH: {**spanish.REASONS, **spanish.DETAILS}}


def title(code: str, english: str, language: str) -> str:
    """Return the title of an error code in a language."""
    return english if language == ENGLISH else _TITLES[language].get(code, english)


def translate(text: str, language: str) -> str | None:
    """Return a text in a language; None if it has no translation."""
    if language == ENGLISH:
        return str(text)
    if isinstance(text, Joined):
        parts = [translate(part, language) for part in text.parts]
        return None if None in parts else "; ".join(filter(None, parts))
    if not isinstance(text, Message):
        return _TEXTS[language].get(text)
    template = _TEXTS[language].get(text.template)
    if template is None:
        return None
    values = {
        name: translate(value, language) if isinstance(value, Message | Joined) else value
        for name, value in text.values.items()
    }
    return None if None in values.values() else template.format(**values)
