"""Cost of enqueueing one job in a transaction of two statements.

The relay doesn't run: the measurement covers what a request pays, up to the wake-up.
"""

import argparse
import json

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, python
from scripts.devstack.progress import say, step

SCHEMA = """
    create schema shop;
    grant usage on schema shop to app_job;
    create table shop.accounts (brand_id uuid primary key, balance bigint not null default 0) with (fillfactor = 50);
    create table shop.orders (
        id uuid primary key, brand_id uuid not null references shop.accounts, amount bigint not null,
        created_at timestamptz not null default now()
    );
    create index on shop.orders (brand_id, created_at);
    call app.secure('shop.accounts', p_job => 'select,insert,update');
    call app.secure('shop.orders', p_job => 'select,insert');
"""
"""Tables with a row policy, a key and an index, like the system's."""

PARTS = {
    "without_ms": "insert, update, commit",
    "with_ms": "the same, and a job",
    "enqueue_ms": "thereof: the call of enqueue",
    "wakeup_ms": "thereof: the wake-up after the commit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--transactions", type=int, default=1000, metavar="N", help="transactions with a job, and without"
    )


def measure(servers: Bench, rounds: int) -> Numbers:
    """Compare alternating transactions with and without a job. Return the relative added time."""
    servers.rows(SCHEMA)
    with step(f"{rounds} transactions with a job, and as many without"):
        found = json.loads(
            servers.run("pairs", python("scripts.commands.bench.pairs", str(rounds)), servers.environment())
        )
    say(f"A transaction of two statements, and the same with a job: median of {rounds}")
    table(["", "ms"], [[meaning, f"{found[name]:.3f}"] for name, meaning in PARTS.items()])
    say(f"  a job adds {found['cost']:.2f} of the time without it")
    return {"enqueue_cost": round(found["cost"], 3), "wakeup_ms": round(found["wakeup_ms"], 3)}
