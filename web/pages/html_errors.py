"""Errors for people: a browser that asks for a page gets a page, a program gets the problem document."""

from collections.abc import Callable
from html import escape
from typing import Any

import msgspec
from falcon.asgi import Request, Response

from web.http.negotiation import preferred_type
from web.http.problems import PROBLEM_JSON
from web.pages.languages import ENGLISH, SPANISH, language_of

CODE, MISSING, WAIT, FAILED, REFUSED = "code", "missing", "wait", "failed", "refused"
TEXTS = {
    ENGLISH: {
        CODE: ("This is not one of our codes", "Scan the code again, or type the address beside it once more."),
        MISSING: ("This page does not exist", "Check the address, or go back to where you came from."),
        WAIT: ("Too many requests", "Wait a minute, then load the page again."),
        FAILED: ("That did not work", "It is our fault. Load the page again in a minute."),
        REFUSED: ("This request can't be answered", "Go back to where you came from, and try again."),
        "reference": "Reference",
    },
    SPANISH: {
        CODE: ("Este código no es nuestro", "Vuelve a escanearlo, o escribe otra vez la dirección que está a su lado."),
        MISSING: ("Esta página no existe", "Comprueba la dirección, o vuelve a donde estabas."),
        WAIT: ("Demasiadas peticiones", "Espera un minuto y vuelve a cargar la página."),
        FAILED: ("No ha funcionado", "Es culpa nuestra. Vuelve a cargar la página dentro de un minuto."),
        REFUSED: ("No podemos responder a esta petición", "Vuelve a donde estabas e inténtalo otra vez."),
        "reference": "Referencia",
    },
}
"""Title and text of each kind of error page, by language."""


class ErrorPages:
    """Middleware that replaces the problem document of a page by a page, if the client prefers HTML."""

    def __init__(self, render: Callable[[str, dict[str, str]], str], headers: dict[str, str]) -> None:
        """`render(language, values)` fills in the template."""
        self._render = render
        self._headers = headers | {"cache-control": "no-store"}

    async def process_response(self, req: Request, resp: Response, resource: Any, req_succeeded: bool) -> None:
        """Replace the answer. The API itself answers every client with a problem document."""
        if resp.content_type != PROBLEM_JSON or resp.data is None or req.path.startswith("/api/"):
            return
        resp.append_header("Vary", "Accept")
        if preferred_type(req, PROBLEM_JSON, "application/json", "text/html") != "text/html":
            return
        language = language_of(req)
        texts = TEXTS[language]
        title, text = texts[_kind(req.path, resp.status_code)]
        reference = f"{texts['reference']}: {msgspec.json.decode(resp.data)['request_id']}"
        values = {"title": title, "text": text, "reference": reference}
        resp.set_headers(self._headers)
        resp.set_header("Content-Language", language)  # `Vary` names it already, as for each problem
        resp.content_type = "text/html; charset=utf-8"
        resp.data = self._render(language, {name: escape(value) for name, value in values.items()}).encode()


def _kind(path: str, status: int) -> str:
    if status == 404:
        return CODE if path.startswith("/s/") else MISSING
    if status in (429, 503):
        return WAIT
    return FAILED if status >= 500 else REFUSED
