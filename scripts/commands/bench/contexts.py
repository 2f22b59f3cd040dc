"""Measure one request, and its query with and without context, policies and session check, alternating.

`python -m scripts.commands.bench.contexts PORT COUNT` creates a brand with campaigns and prints medians in µs as JSON.
"""

import http.client
import json
import random
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

from models.campaigns import campaigns
from models.campaigns.campaigns import Campaign
from models.campaigns.config import Config
from models.core.context import Identity
from models.core.database import BEGIN, BEGIN_SESSION, connect, transaction
from scripts.commands.bench.stage import CONFIG, identity_of, signed_in
from settings import settings

REQUEST = "request"
CAMPAIGNS = 200
"""Enough rows for the planner to use an index."""

STEPS = {
    "of_context": ("context", "plain"),
    "of_policies": ("policies", "context"),
    "of_session": ("session", "policies"),
}
"""Variants to subtract: each name is the cost of the step from the second variant to the first."""

Measured = Callable[[], object]


def opening(identity: Identity) -> tuple[str, list[Any]]:
    """Return the statement and parameters that begin a transaction, as `models.core.database` sends them."""
    claims = msgspec.json.encode(dict(identity.claims)).decode()
    return BEGIN_SESSION if identity.is_session else BEGIN, [identity.role, claims, "10000"]


def within(
    connected: connection, begin: Callable[[], tuple[str, Sequence[Any]]], query: tuple[str, list[Any]]
) -> Measured:
    """Return a function that runs the query in a transaction; its first message begins the transaction, too."""
    cursor = connected.cursor()

    def run() -> None:
        text, values = begin()
        cursor.execute(f"{text}; {query[0]}", [*values, *query[1]])
        assert len(cursor.fetchall()) == 1
        cursor.execute("COMMIT")

    return run


def request(port: int, path: str, token: str) -> Measured:
    """Return a function that sends a request over a persistent connection."""
    client = http.client.HTTPConnection("127.0.0.1", port)

    def run() -> None:
        client.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        answer = client.getresponse()
        assert (answer.status, bool(answer.read())) == (200, True)

    return run


def in_turns(sides: dict[str, Measured], count: int) -> list[dict[str, float]]:
    """Measure every variant `count` times in random order, in µs. Discard the first tenth as warm-up.

    Send a request before each variant, as in a process that answers requests. Otherwise a variant that follows its like
    would find a warm connection and warm caches, and would seem to cost nothing.
    """
    turns: list[dict[str, float]] = []
    chance = random.Random(1)
    others = [name for name in sides if name != REQUEST]
    for _ in range(count + count // 10):
        turn: dict[str, float] = {}
        for name in chance.sample(others, len(others)):
            turn[REQUEST] = _timed(sides[REQUEST])
            turn[name] = _timed(sides[name])
        turns.append(turn)
    return turns[count // 10 :]


def _timed(run: Measured) -> float:
    began = time.perf_counter()
    run()
    return (time.perf_counter() - began) * 1e6


def figures(turns: list[dict[str, float]]) -> dict[str, float]:
    """Return medians in µs: of each variant, and of the difference of two variants in the same round."""
    return {
        **{name: median(turn[name] for turn in turns) for name in turns[0]},
        **{name: median(turn[more] - turn[less] for turn in turns) for name, (more, less) in STEPS.items()},
    }


def main(port: int, count: int) -> None:
    """Measure and print the medians."""
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
        unchecked = replace(identity, is_session=False)
        owning = replace(unchecked, role=owner.info.user)
        sides = {
            REQUEST: request(port, f"/api/v1/campaigns/{made.id}", session.access_token),
            "session": within(web, lambda: opening(identity), query),
            "policies": within(web, lambda: opening(unchecked), query),
            "context": within(owner, lambda: opening(owning), explicit),
            "plain": within(owner, lambda: ("BEGIN", []), explicit),
        }
        print(json.dumps(figures(in_turns(sides, count))))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
