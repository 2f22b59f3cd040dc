"""Render mails from the templates in `template_files`, in text and HTML, by language.

`<name>.<language>.txt` begins with a line `Subject: …` and an empty one; `<name>.<language>.html` goes into
`layout.html`. A `$name` is replaced by its value, which is escaped in HTML.
"""

import html
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from string import Template
from zoneinfo import ZoneInfo

TEMPLATES = Path(__file__).parent / "template_files"
FALLBACK = "en"

_MONTHS = {
    "en": (
        *("January", "February", "March", "April", "May", "June", "July"),
        *("August", "September", "October", "November", "December"),
    ),
    "es": (
        *("enero", "febrero", "marzo", "abril", "mayo", "junio", "julio"),
        *("agosto", "septiembre", "octubre", "noviembre", "diciembre"),
    ),
}
_MOMENTS = {"en": "{day} {month} {year} at {time} ({zone})", "es": "{day} de {month} de {year} a las {time} ({zone})"}


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """Language, subject and content of a mail."""

    language: str
    subject: str
    text: str
    html: str


def render(name: str, locale: str, **values: str) -> RenderedMail:
    """Render the template `name` in the language of `locale`, or in English if it has no template in that language.

    Raises:
        FileNotFoundError: there is no such template.
        KeyError: the template needs a value that is not given.
    """
    chosen = language(name, locale)
    head, _, body = _template(f"{name}.{chosen}.txt").substitute(values).partition("\n\n")
    subject = " ".join(head.removeprefix("Subject:").split())
    escaped = {key: html.escape(value) for key, value in values.items()}
    content = _template(f"{name}.{chosen}.html").substitute(escaped)
    page = _template("layout.html").substitute(locale=chosen, subject=html.escape(subject), content=content)
    return RenderedMail(chosen, subject, body, page)


def language(name: str, locale: str) -> str:
    """Return the language in which the template `name` is rendered for `locale`."""
    wanted = locale.partition("-")[0].lower()
    return wanted if wanted in _languages(name) else FALLBACK


def moment(at: datetime, timezone: str, language: str) -> str:
    """Return date and time in a time zone as a language writes them, e.g. `1 de mayo de 2027 a las 18:00 (UTC)`.

    Args:
        at: the time, with its offset from UTC.
        timezone: time zone of the recipient, by its IANA name.
        language: a result of `language`.
    """
    local = at.astimezone(ZoneInfo(timezone))
    month = _MONTHS[language][local.month - 1]
    return _MOMENTS[language].format(day=local.day, month=month, year=local.year, time=f"{local:%H:%M}", zone=timezone)


@cache
def _languages(name: str) -> frozenset[str]:
    return frozenset(path.name.split(".")[1] for path in TEMPLATES.glob(f"{name}.*.txt"))


@cache
def _template(file: str) -> Template:
    return Template((TEMPLATES / file).read_text(encoding="utf-8"))
