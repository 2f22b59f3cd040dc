"""What it costs a transaction of two statements to enqueue one job as well.

The relay doesn't run: what is measured is what a request pays, and that ends with the doorbell.
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
"""Tables as the system has them: a row policy, a key, an index."""

PARTS = {
    "without_ms": "insert, update, commit",
    "with_ms": "the same, and a job",
    "enqueue_ms": "thereof: the call of enqueue",
    "doorbell_ms": "thereof: the doorbell, after the commit",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--transactions", type=int, default=1000, metavar="N", help="with a job, and as many without")


def measure(servers: Bench, rounds: int) -> Numbers:
    """Compare transactions with and without a job, by turns; the time that the job adds, by the time without it."""
    servers.rows(SCHEMA)
    with step(f"{rounds} transactions with a job, and as many without"):
        found = json.loads(
            servers.run("pairs", python("scripts.commands.bench.pairs", str(rounds)), servers.environment())
        )
    say(f"A transaction of two statements, and the same with a job: median of {rounds}")
    table(["", "ms"], [[meaning, f"{found[name]:.3f}"] for name, meaning in PARTS.items()])
    say(f"  a job adds {found['cost']:.2f} of the time without it")
    return {"enqueue_cost": round(found["cost"], 3), "doorbell_ms": round(found["doorbell_ms"], 3)}
