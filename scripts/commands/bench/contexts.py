"""Medians of one request, and of its query with and without context, policies and session, which take turns.

`python -m scripts.commands.bench.contexts PORT COUNT` makes a brand with campaigns, and prints µs as JSON.
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
"""So many that an index is worth having."""

STEPS = {
    "of_context": ("context", "plain"),
    "of_policies": ("policies", "context"),
    "of_session": ("session", "policies"),
}
"""What is added from one side to the next."""

Measured = Callable[[], object]


def opening(identity: Identity) -> tuple[str, list[Any]]:
    """What begins a transaction of theirs, as `models.core.database` sends it."""
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


def in_turns(sides: dict[str, Measured], count: int) -> list[dict[str, float]]:
    """How long each took, in µs, turn by turn, in an order of chance; the first tenth is for warming up.

    A request goes before each of the others, as in a process that answers requests: whoever comes after its own like
    finds connection and caches warm, and would seem to cost nothing.
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
    """Medians in µs: of each side, and of what one takes more than another in the same turn."""
    return {
        **{name: median(turn[name] for turn in turns) for name in turns[0]},
        **{name: median(turn[more] - turn[less] for turn in turns) for name, (more, less) in STEPS.items()},
    }


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
