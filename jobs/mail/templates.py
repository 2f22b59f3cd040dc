"""Letters: the text of a mail, made from the templates beside this file, in text and HTML, by language.

`<name>.<language>.txt` begins with a line `Subject: …` and an empty one; `<name>.<language>.html` goes into
`layout.html`. A `$name` is replaced by its value, which is escaped in HTML.
"""

import html
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

TEMPLATES = Path(__file__).parent / "template_files"
FALLBACK = "en"


@dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    subject: str
    text: str
    html: str


def write(name: str, locale: str, **values: str) -> Letter:
    """The letter `name` in the language of `locale`, or in English where there is none in it.

    Raises:
        FileNotFoundError: there is no such letter.
        KeyError: the letter has a place for a value that isn't given.
    """
    written = language(name, locale)
    head, _, body = _template(f"{name}.{written}.txt").substitute(values).partition("\n\n")
    subject = " ".join(head.removeprefix("Subject:").split())
    escaped = {key: html.escape(value) for key, value in values.items()}
    content = _template(f"{name}.{written}.html").substitute(escaped)
    page = _template("layout.html").substitute(locale=written, subject=html.escape(subject), content=content)
    return Letter(subject, body, page)


def language(name: str, locale: str) -> str:
    """Return the language that the letter `name` is written in for `locale`."""
    wanted = locale.partition("-")[0].lower()
    return wanted if wanted in _languages(name) else FALLBACK


@cache
def _languages(name: str) -> frozenset[str]:
    return frozenset(path.name.split(".")[1] for path in TEMPLATES.glob(f"{name}.*.txt"))


@cache
def _template(file: str) -> Template:
    return Template((TEMPLATES / file).read_text(encoding="utf-8"))
