"""`bench requests`: processor time of the web process for a GET and a POST, beside another checkout of this repository.

Each checkout runs as a whole system (`./scripts/up`) with one web process. Blocks of equal requests alternate between
kinds and checkouts, over one connection for each block. The cost of a block is the processor time of gunicorn and its
worker. Unlike a rate, it hardly depends on the load of the machine. Without another checkout, `GET /healthz` is the
yardstick.
"""

import argparse
import http.client
import json
import os
import random
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import cpu_seconds_of, temporary
from scripts.commands.bench.stage import CONFIG
from scripts.commands.demo import brand_setup
from scripts.commands.demo.http_client import DemoFailed
from scripts.devstack import sockets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail, say, step

HEALTH, GET, POST = "health", "get", "post"
KINDS = {
    HEALTH: "GET /healthz",
    GET: "GET /api/v1/campaigns/{id}",
    POST: "POST /api/v1/campaigns",
}
OURS, THEIRS = "ours", "theirs"
WARM_UP = 200
"""Requests of each kind before the measurement: they open connections and plan statements."""
STEP = 0.01
"""Seconds in which the kernel counts processor time. A shorter block counts as one step."""
SETUP_SECONDS = 120.0
"""Seconds within which a brand must be created in a new system."""

UNLIMITED = "100000000 per minute"
"""Counted as usual, but never reached."""


@dataclass
class Side:
    """A running checkout: its web process, and a connection of a brand's admin."""

    pid: int
    connection: http.client.HTTPConnection
    token: str
    campaign: str = ""

    def send(self, kind: str) -> Any:
        """Send one request and return its JSON.

        Raises:
            SetupError: the request was refused.
        """
        body = json.dumps({"name": "Bench", "type": "QR", "config": CONFIG}) if kind == POST else None
        method, template = KINDS[kind].split()
        headers = {"Content-Type": "application/json"} if body else {}
        if kind != HEALTH:
            headers["Authorization"] = f"Bearer {self.token}"
        self.connection.request(method, template.replace("{id}", self.campaign), body, headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.status not in (200, 201):
            fail(f"{method} {template} returned {response.status}: {text[:500]!r}")
        return json.loads(text)

    def cost(self, kind: str, count: int) -> float:
        """Return the processor time in µs of one request, measured over a block."""
        self.connection.close()  # The server may have closed it while the other side was measured.
        before = cpu_seconds_of(self.pid)
        for _ in range(count):
            self.send(kind)
        return max(STEP, cpu_seconds_of(self.pid) - before) / count * 1e6


Costs = dict[tuple[str, str], list[float]]
"""Processor time in µs of a request in each round, by side and kind."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="another checkout, e.g. of an earlier commit")
    parser.add_argument("--requests", type=int, default=400, metavar="N", help="requests of each kind in a block")
    parser.add_argument("--rounds", type=int, default=10, metavar="N", help="blocks of each kind and checkout")


def measure(given: argparse.Namespace) -> Numbers:
    """Processor time of a GET and a POST in this checkout, beside another one."""
    checkouts = {OURS: ROOT, **({THEIRS: given.against.resolve()} if given.against else {})}
    with ExitStack() as stack:
        sides = {name: stack.enter_context(_running(checkout)) for name, checkout in checkouts.items()}
        with step(f"Measuring {given.rounds} blocks of {given.requests} requests"):
            costs = _in_turns(sides, given.rounds, given.requests)
    numbers = figures(costs)
    _show(numbers)
    return numbers


@contextmanager
def _running(checkout: Path) -> Iterator[Side]:
    """Run the system of a checkout for the duration of the block, and create a brand with a campaign in it."""
    with temporary("companon-bench-") as base:
        var = str(base / "var")
        env = os.environ | {"WEB_CONCURRENCY": "1", "LOG_LEVEL": "WARNING"}
        env |= {"PERSON_RATE": UNLIMITED, "ADDRESS_RATE": UNLIMITED}
        _command(checkout, env, "up", "--detach", "--var", var, "--port", str(sockets.free_port()))
        try:
            yield _signed_in(json.loads((base / "var" / "run.json").read_text()))
        finally:
            _command(checkout, env, "down", "--var", var)


def _command(checkout: Path, env: dict[str, str], name: str, *arguments: str) -> None:
    with step(f"{name} in {checkout}"):
        done = subprocess.run(
            [checkout / "scripts" / name, *arguments], env=env, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        fail(f"{checkout}/scripts/{name} failed with status {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")


def _signed_in(run: dict[str, Any]) -> Side:
    try:
        brand = brand_setup.create(run, time.monotonic() + SETUP_SECONDS)
    except DemoFailed as error:
        fail(str(error))
    url = urlsplit(run["api"])
    side = Side(run["processes"]["web"][0], http.client.HTTPConnection(url.hostname or "", url.port), brand.admin.token)
    side.campaign = side.send(POST)["id"]
    return side


def _in_turns(sides: dict[str, Side], rounds: int, count: int) -> Costs:
    chance = random.Random(1)
    turns = [(name, kind) for name in sides for kind in KINDS]
    for name, kind in turns:
        sides[name].cost(kind, min(count, WARM_UP))
    costs: Costs = {turn: [] for turn in turns}
    for _ in range(rounds):
        for name, kind in chance.sample(turns, len(turns)):
            costs[name, kind].append(sides[name].cost(kind, count))
    return costs


def figures(costs: Costs) -> dict[str, float]:
    """Return means in µs, and their ratios to `GET /healthz` and to the other checkout."""
    mean = {turn: sum(found) / len(found) for turn, found in costs.items()}
    numbers = {f"{kind}_us": mean[OURS, kind] for kind in KINDS}
    for kind in (GET, POST):
        numbers[f"{kind}_of_health"] = mean[OURS, kind] / mean[OURS, HEALTH]
    if (THEIRS, GET) in costs:
        for kind in KINDS:
            numbers[f"their_{kind}_us"] = mean[THEIRS, kind]
            numbers[f"{kind}_of_theirs"] = mean[OURS, kind] / mean[THEIRS, kind]
    return {name: round(number, 3) for name, number in numbers.items()}


def _show(numbers: Numbers) -> None:
    say("\nProcessor time of the web process for a request\n")
    compared = f"{GET}_of_theirs" in numbers
    head = ("", "µs", "of /healthz") + (("µs there", "of theirs") if compared else ())
    rows = []
    for kind, text in KINDS.items():
        cells = [text, f"{numbers[f'{kind}_us']:.0f}", f"{numbers.get(f'{kind}_of_health', 1):.2f}"]
        if compared:
            cells += [f"{numbers[f'their_{kind}_us']:.0f}", f"{numbers[f'{kind}_of_theirs']:.3f}"]
        rows.append(cells)
    table(head, rows)
