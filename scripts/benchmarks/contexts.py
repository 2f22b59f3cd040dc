"""Medians of one request and of its query with and without a context, which take turns.

`python -m scripts.benchmarks.contexts PORT COUNT` makes a brand with campaigns, and prints µs as JSON.
"""

import http.client
import json
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from statistics import median
from typing import Any

import msgspec
import psycopg2
from psycopg2.extensions import connection

from models import campaigns
from models.campaigns import Campaign, Config
from models.context import Identity
from models.db import BEGIN, BEGIN_SESSION, connect, transaction
from scripts.benchmarks.stage import CONFIG, identity_of, signed_in
from settings import settings

CAMPAIGNS = 200
"""So many that an index is worth having."""

Measured = Callable[[], object]


def opening(identity: Identity) -> tuple[str, list[Any]]:
    """What begins a transaction of theirs, as `models.db` sends it."""
    claims = msgspec.json.encode(dict(identity.claims)).decode()
    return BEGIN_SESSION if identity.is_session else BEGIN, [identity.role, claims, "10000"]


def within(
    connected: connection, begin: Callable[[], tuple[str, Sequence[Any]]], query: tuple[str, list[Any]]
) -> Measured:
    """The query in a transaction of its own: what begins it goes with it, in one message."""
    cursor = connected.cursor()

    def run() -> None:
        text, values = begin()
        cursor.execute(f"{text}; {query[0]}", [*values, *query[1]])
        assert len(cursor.fetchall()) == 1
        cursor.execute("COMMIT")

    return run


def request(port: int, path: str, token: str) -> Measured:
    """A request over a connection that stays open."""
    client = http.client.HTTPConnection("127.0.0.1", port)

    def run() -> None:
        client.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = client.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)

    return run


def medians(sides: dict[str, Measured], count: int) -> dict[str, float]:
    """Median duration of each, in µs; they take turns, and the first tenth is for warming up."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(count + count // 10):
        for name, run in sides.items():
            began = time.perf_counter()
            run()
            if turn >= count // 10:
                taken[name].append((time.perf_counter() - began) * 1e6)
    return {name: median(values) for name, values in taken.items()}


def main(port: int, count: int) -> None:
    """Measure, and say what came of it."""
    session = signed_in()
    identity = identity_of(session.access_token)
    for number in range(CAMPAIGNS):
        with transaction(identity):
            made = campaigns.create(name=f"Bench {number}", kind="QR", config=msgspec.convert(CONFIG, Config))
    query = Campaign.select().where(Campaign.id == made.id).sql()
    explicit = Campaign.select().where(Campaign.id == made.id, Campaign.brand_id == made.brand_id).sql()
    with closing(connect("web")) as web, closing(psycopg2.connect(settings.database_direct_url)) as owner:
        owner.autocommit = True
        with owner.cursor() as cursor:
            cursor.execute("analyze public.campaigns")
        sides = {
            "request": request(port, f"/api/v1/campaigns/{made.id}", session.access_token),
            "session": within(web, lambda: opening(identity), query),
            "context": within(web, lambda: opening(replace(identity, is_session=False)), query),
            "plain": within(owner, lambda: ("BEGIN", []), explicit),
        }
        print(json.dumps(medians(sides, count)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
