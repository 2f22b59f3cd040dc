"""`bench segments`: previews, members, lists and imports of one large brand, beside tuned SQL and COPY.

The data is generated once and kept under /var/tmp for later runs with the same migrations and sizes.
"""

import argparse
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.commands.bench import imports
from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, bench, python
from scripts.commands.bench.worker_group import WorkerGroup
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import say, step

MEMORY = "2GB"
"""Shared memory of PostgreSQL, for data of 12 GB. Other settings are those of a private server of the project."""
KEPT = Path("/var/tmp")
PREFIX = "companon-bench-segments-"
FILL = Path(__file__).with_suffix(".sql")
SOURCES = (FILL, Path(__file__).with_name("segment_calls.py"), *sorted((ROOT / "models/supabase").rglob("*.sql")))
"""Files that the data depends on."""
TABLES = ("users", "contacts", "contact_activity", "engagement_events", "consents", "fan_traits", "segment_members")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    add = parser.add_argument
    add("--contacts", type=int, default=1_000_000, metavar="N", help="contacts of the large brand")
    add("--events", type=int, default=10_000_000, metavar="N", help="its engagement events")
    add("--previews", type=int, default=60, metavar="N", help="previews to time")
    add("--rounds", type=int, default=5, metavar="N", help="evaluations of each definition and of the SQL beside it")
    add("--lags", type=int, default=60, metavar="N", help="engagements whose membership is awaited")
    add("--rows", type=int, default=200_000, metavar="N", help="contacts to import")
    add("--plans", metavar="FILE", help="file for the plans of the queries")


def measure(given: argparse.Namespace) -> Numbers:
    """Previews, members, lists and imports of a large brand."""
    numbers: dict[str, float] = {"contacts": given.contacts, "events": given.events}
    with _filled(given.contacts, given.events) as (servers, data):
        with step("Previews, evaluations and pages"):
            called = _calls(
                servers, "measure", json.dumps({**data, "previews": given.previews, "rounds": given.rounds})
            )
        _show(called)
        if given.plans:
            Path(given.plans).write_text("\n\n".join(f"{name}\n{plan}" for name, plan in called["plans"].items()))
        numbers |= called["numbers"]
        with step("Engagements until their memberships"):
            numbers |= _lag(servers, data, given.lags)
    with bench() as servers:
        numbers |= imports.measure(servers, given.rows)
    return numbers


@contextmanager
def _filled(contacts: int, events: int) -> Iterator[tuple[Bench, dict[str, Any]]]:
    """Run servers with the data for the duration of the block. Create the data if no earlier run has kept it."""
    base = KEPT / f"{PREFIX}{_digest(contacts, events)}"
    data, is_new = base / "data.json", not (base / "data.json").exists()
    if is_new:
        for old in KEPT.glob(f"{PREFIX}*"):
            shutil.rmtree(old)
        base.mkdir()
        base.chmod(0o711 if os.geteuid() == 0 else 0o700)
    servers = Bench(base, shared_buffers=MEMORY)
    try:
        servers.start()
        if is_new:
            data.write_text(json.dumps(_fill(servers, contacts, events)))
        yield servers, json.loads(data.read_text())
    finally:
        servers.stop()


def _digest(contacts: int, events: int) -> str:
    found = hashlib.sha256(f"{contacts} {events}".encode())
    for source in SOURCES:
        found.update(source.read_bytes())
    return found.hexdigest()[:16]


def _fill(servers: Bench, contacts: int, events: int) -> dict[str, Any]:
    with step("Creating the brand"):
        data = _calls(servers, "prepare")
    with step(f"{contacts} contacts and {events} engagement events"):
        servers.rows(FILL.read_text().format(brand=data["brand"], contacts=contacts, events=events))
        _vacuum(servers)
    with step("Computing the members of the segments"):
        data |= _calls(servers, "compute", json.dumps(data))
        servers.rows("delete from app.jobs")
        _vacuum(servers)
    servers.rows("checkpoint")
    return data


def _vacuum(servers: Bench) -> None:
    for name in TABLES:
        servers.rows(f"vacuum (analyze) public.{name}")


def _calls(servers: Bench, *arguments: str) -> dict[str, Any]:
    module = "scripts.commands.bench.segment_calls"
    found: dict[str, Any] = json.loads(servers.run(arguments[0], python(module, *arguments), servers.environment()))
    return found


def _show(called: dict[str, Any]) -> None:
    say("Evaluation of all contacts, in ms, compiled and written by hand; the same contacts each time")
    table(
        ["", "contacts", "compiled", "by hand", "ratio"],
        [
            [name, f"{one['n']}", f"{one['compiled']:.0f}", f"{one['by_hand']:.0f}", f"{one['ratio']:.2f}"]
            for name, one in called["evaluations"].items()
        ],
    )
    say("Pages of 50, p95 in ms")
    table(["", "p95"], [[name, f"{found:.1f}"] for name, found in called["pages"].items()])


def _lag(servers: Bench, data: dict[str, Any], count: int) -> Numbers:
    group = WorkerGroup(servers, processes=1, threads=4)
    group.start()
    try:
        module, ids = "scripts.commands.bench.membership_lag", (data["brand"], data["lag_segment"], data["campaign"])
        found: Numbers = json.loads(servers.run("lag", python(module, *ids, str(count)), servers.environment()))
        return found
    finally:
        group.end()
