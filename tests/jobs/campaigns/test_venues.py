"""Test look-ups of venues: the gazetteer by default, and Nominatim over HTTP against its documented JSON."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.passport import geocoder
from jobs.passport.geocoder import nominatim
from models.campaigns import venues
from models.campaigns.venues import Question
from settings import settings

ADDRESS = Question("Pasadizo de San Ginés 5, Madrid", "ES", "es")
DOCUMENTED = {
    "place_id": 100149,
    "licence": "Data © OpenStreetMap contributors, ODbL 1.0. http://osm.org/copyright",
    "osm_type": "node",
    "osm_id": 107775,
    "boundingbox": ["40.4167", "40.4169", "-3.7071", "-3.7069"],
    "lat": "40.41678",
    "lon": "-3.70703",
    "class": "amenity",
    "type": "cafe",
    "place_rank": 30,
    "importance": 0.2,
    "addresstype": "amenity",
    "name": "Chocolatería San Ginés",
    "display_name": "Chocolatería San Ginés, 5, Pasadizo de San Ginés, Madrid, España",
    "address": {"road": "Pasadizo de San Ginés", "city": "Madrid", "country": "España", "country_code": "es"},
}
"""A place as https://nominatim.org/release-docs/latest/api/Output/ describes it."""


class Nominatim:
    """Answers searches with `places`, or with `status` if that is set once."""

    def __init__(self) -> None:
        self.places: Any = [DOCUMENTED]
        self.failures: list[tuple[int, bytes]] = []
        self.requests: list[tuple[dict[str, list[str]], str]] = []

    def answer(self, path: str, agent: str) -> tuple[int, bytes]:
        """Return the status and the body for a request."""
        assert urlsplit(path).path == "/search"
        self.requests.append((parse_qs(urlsplit(path).query), agent))
        return self.failures.pop() if self.failures else (200, json.dumps(self.places).encode())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Nominatim]:
    """Ask a local Nominatim server."""
    found = Nominatim()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = found.answer(self.path, self.headers["User-Agent"])
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    asked = replace(settings, geocoder="nominatim", geocoder_url=f"http://127.0.0.1:{http.server_port}")
    for module in (geocoder, nominatim, venues):
        monkeypatch.setattr(module, "settings", asked)
    yield found
    http.shutdown()
    http.server_close()


def _look_up(manager: Any, question: Question = ADDRESS) -> Any:
    with manager.acting():
        return venues.look_up(question)


def test_gazetteer_answers_with_cities_that_centre_no_fence(manager, drain):
    lookup, job = _look_up(manager)
    ran = drain()
    again, none = _look_up(manager, Question("  pasadizo de san GINÉS 5,  Madrid", "ES", "es"))

    assert (job.created, ran.count("venue.geocode"), none) == (True, 1, None)
    assert again.id == lookup.id
    assert {one["precision"] for one in again.candidates} == {"city"}
    assert not venues.may_centre_fence("city")
    assert again.attribution == "GeoNames (CC BY 4.0)"


def test_nominatim_answers_with_the_precision_of_each_place(server, manager, drain):
    ranks = {30: "address", 26: "street", 16: "city", 8: None, 4: None}
    server.places = [DOCUMENTED | {"place_rank": rank} for rank in ranks]
    _look_up(manager)
    drain()

    lookup, _ = _look_up(manager)

    assert [one["precision"] for one in lookup.candidates] == ["address", "street", "city"]
    assert lookup.candidates[0] == {
        "name": DOCUMENTED["display_name"], "country": "ES", "lat": 40.41678, "lon": -3.70703, "precision": "address",
    }  # fmt: skip
    ((query, agent),) = server.requests
    assert (query["q"], query["countrycodes"], query["accept-language"]) == ([lookup.address], ["ES"], ["es"])
    assert agent.startswith("companon (http")


@pytest.mark.parametrize(
    "failure", [(500, b""), (429, b""), (200, b"<html>"), (200, b'{"surprise": 1}'), (200, b'[{"lat": "x"}]')]
)
def test_failing_nominatim_is_asked_again(server, manager, drain, failure):
    server.failures = [failure]
    _look_up(manager)

    drain()

    assert len(server.requests) == 2
    assert len(_look_up(manager)[0].candidates) == 1


def test_unknown_address_has_no_candidates(server, manager, drain):
    server.places = []
    _look_up(manager)
    drain()

    assert _look_up(manager)[0].candidates == []


def test_look_up_of_another_brand_is_not_shared(manager, member, make_brand, drain):
    _look_up(manager)
    drain()

    other, job = _look_up(member("Campaign Manager", make_brand("Other")))

    assert (other.candidates, job.created) == (None, True)
