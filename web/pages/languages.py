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
    preferred = (tag.partition("-")[0] for tag in locales.preferred(req.get_header("Accept-Language")))
    return next((language for language in preferred if language in LANGUAGES), ENGLISH)


def label(resp: Response, language: str) -> None:
    """Set the headers of an answer that depends on the language."""
    resp.set_header("Content-Language", language)
    resp.append_header("Vary", "Accept-Language")
