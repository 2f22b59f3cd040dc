"""The language of a page: as the link asks, else as the browser prefers, else English."""

from falcon.asgi import Request, Response

from web.http import locales

ENGLISH, SPANISH = "en", "es"
LANGUAGES = {ENGLISH: "English", SPANISH: "Español"}
"""Languages of the pages, with their own names."""


def language_of(req: Request) -> str:
    """Return the language of `?lang=`, else the first known one of `Accept-Language`, else English."""
    asked = req.get_param("lang", default="")
    if asked in LANGUAGES:
        return asked
    return locales.best(req.get_header("Accept-Language"), list(LANGUAGES))


def links(language: str) -> str:
    """Return links to the page in the other languages, as HTML."""
    others = ((code, name) for code, name in LANGUAGES.items() if code != language)
    return "".join(f'<a href="?lang={code}" hreflang="{code}" lang="{code}">{name}</a>' for code, name in others)


def label(resp: Response, language: str) -> None:
    """Set the headers of an answer that depends on the language."""
    resp.set_header("Content-Language", language)
    resp.append_header("Vary", "Accept-Language")
