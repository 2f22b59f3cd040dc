"""Servers behind proxies, two relays and two workers, which are restarted when they end."""

import os
import random
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from scripts.commands.bench.servers import Bench, python
from scripts.commands.soak.proxy import Proxy
from scripts.commands.soak.variables import VENDOR_URL
from scripts.commands.soak.vendor import Vendor
from scripts.devstack import processes
from scripts.devstack.environment import VENV
from scripts.devstack.postgres import SUPERUSER

THREADS = 4
LOGINS = {
    "DATABASE_URL": "app_web",
    "DATABASE_ACCOUNT_URL": "app_account",
    "DATABASE_SCAN_URL": "app_scan",
    "DATABASE_WORKER_URL": "app_worker",
    "DATABASE_SEAL_URL": "app_seal",
}
SCHEMA = """
    create schema chaos;
    create table chaos.intents (key text primary key, kind text not null);
    create table chaos.effects (key text not null, job_id uuid not null, fence bigint not null);
    create table chaos.faults (n int not null, kind text not null, at timestamptz not null default clock_timestamp());
    create table chaos.held (n int not null, job_id uuid not null);
    grant usage on schema chaos to app_job, app_worker;
    grant insert on chaos.intents, chaos.effects to app_job, app_worker;
"""
CLEAR = """
    truncate app.jobs, app.job_keys, app.job_history, app.dead_jobs, chaos.intents, chaos.effects, chaos.faults,
        chaos.held cascade
"""
WORKERS = {
    "worker-1": [
        "dramatiq",
        "scripts.commands.soak.actors",
        "--processes",
        "1",
        "--threads",
        str(THREADS),
        "--skip-logging",
    ],
    "worker-2": [
        "dramatiq",
        "scripts.commands.soak.actors",
        "--processes",
        "1",
        "--threads",
        str(THREADS),
        "--skip-logging",
    ],
}
RELAYS = {name: python("scripts.commands.soak.relay") for name in ("relay-1", "relay-2")}


@dataclass
class ManagedProcess:
    """A process that is restarted when it has ended."""

    name: str
    argv: Sequence[str]
    more: Mapping[str, str]
    process: "subprocess.Popen[bytes]"
    starts: int = 1

    def family(self) -> list[int]:
        """Return the PIDs of the process and its children, which form a session."""
        return sorted(each.pid for each in processes.processes() if each.session == self.process.pid)


class FaultTestbed(Bench):
    """Servers, proxies, the vendor, relays and workers."""

    def __init__(self, base: Path, seed: int) -> None:
        super().__init__(base)
        self.random = random.Random(seed)
        self.vendor = Vendor(seed)
        self.to_postgres = Proxy(self.postgres.socket_dir / ".s.PGSQL.5432")
        self.to_redis = Proxy(self.redis.socket)
        self.members: dict[str, ManagedProcess] = {}

    def start(self) -> None:
        """Start everything but relays and workers."""
        super().start()
        self.rows(SCHEMA)
        for part in (self.to_postgres, self.to_redis, self.vendor):
            part.start()

    def stop(self) -> None:
        """Stop everything."""
        super().stop()
        for part in (self.to_postgres, self.to_redis, self.vendor):
            part.stop()

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of relays and workers, which reach the servers through the proxies only."""
        logins = {name: self._through_proxy(login) for name, login in LOGINS.items()}
        redis_url = f"redis://127.0.0.1:{self.to_redis.port}/0"
        return super().environment(**logins, REDIS_URL=redis_url, **{VENDOR_URL: self.vendor.url}, **more)

    def _through_proxy(self, login: str) -> str:
        return f"postgresql://{login}@127.0.0.1:{self.to_postgres.port}/companon?sslmode=disable"

    def start_members(self, members: Mapping[str, Sequence[str]], **more: str) -> None:
        """Start relays and workers with additional environment variables."""
        for name, argv in members.items():
            self.members[name] = ManagedProcess(name, argv, more, self._start(name, argv, more))

    def restart_ended(self) -> None:
        """Restart the processes that have ended."""
        for member in self.members.values():
            if member.process.poll() is not None:
                _end(member.process.pid)  # Its children may have outlived it.
                member.process = self._start(member.name, member.argv, member.more)
                member.starts += 1

    def end_all(self) -> None:
        """Kill all processes, stopped ones included."""
        self.members.clear()
        super().end_all()

    def _start(self, name: str, argv: Sequence[str], more: Mapping[str, str]) -> "subprocess.Popen[bytes]":
        self._running = [process for process in self._running if process.poll() is None]
        program = str(VENV / "bin" / argv[0]) if argv[0] == "dramatiq" else argv[0]
        return self.spawn(name, [program, *argv[1:]], self.environment(**more))

    def enqueue(self, kind: str, key: str) -> UUID:
        """Enqueue a job without the proxies and return its id."""
        self.rows("insert into chaos.intents values (%s, %s)", [key, kind])
        (found,) = self.rows(
            "select app.add_job(gen_random_uuid(), %s, jsonb_build_array(%s), p_brand_id => gen_random_uuid())",
            [f"chaos.{kind}", key],
        )
        return UUID(str(found[0]))

    def clear(self) -> None:
        """Kill all processes and delete all jobs."""
        self.end_all()
        self.rows(CLEAR)
        self.vendor.clear()
        self.to_postgres.heal()
        self.to_redis.heal()

    def choose_member(self, prefix: str) -> ManagedProcess:
        """Return a process that the seed chooses."""
        return self.random.choice([member for name, member in self.members.items() if name.startswith(prefix)])

    def backends(self, application: str) -> list[int]:
        """Return the PIDs of PostgreSQL's backends that serve an application."""
        sql = "select pid from pg_stat_activity where application_name = %s and usename <> %s order by pid"
        return [pid for (pid,) in self.rows(sql, [application, SUPERUSER])]


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)
