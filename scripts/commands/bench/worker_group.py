"""A relay and workers that can be killed and restarted while they are measured."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from subprocess import Popen

from scripts.commands.bench.servers import Bench, python
from scripts.devstack.environment import VENV

TALLY = """
    select count(*) filter (where e.n is null), coalesce(sum(e.times - 1), 0)::int, count(*) filter (where i.n is null)
    from bench.intents i full join (select n, count(*) as times from bench.effects group by n) as e on e.n = i.n
"""
CLEAR = "truncate app.jobs, app.job_history, bench.intents, bench.effects cascade"


@dataclass
class WorkerGroup:
    """One relay and one group of workers."""

    servers: Bench
    processes: int
    threads: int
    _workers: "Popen[bytes] | None" = field(default=None, init=False)

    def start(self) -> None:
        """Start the relay and the workers. Return when all are ready."""
        self.servers.spawn("relay", python("scripts.commands.bench.relay"), self.servers.environment())
        self.servers.line_up(1)
        self.servers.go(1)
        self.start_workers()

    def start_workers(self) -> None:
        """Start the workers, which begin at once. Return when they are ready."""
        options = ["--processes", str(self.processes), "--threads", str(self.threads), "--skip-logging"]
        words = [str(VENV / "bin" / "dramatiq"), "scripts.commands.bench.ours", *options]
        self.servers.go(self.processes)
        self._workers = self.servers.spawn("ledger", words, self.servers.environment())
        self.servers.line_up(self.processes)

    def kill_workers(self) -> None:
        """Kill all workers at once, like the loss of their machine."""
        assert self._workers is not None
        self.servers.kill(self._workers)

    def end(self) -> None:
        """Stop all processes and delete their messages at the broker."""
        self.servers.end_all()
        self.servers.client().flushall()


def tally(servers: Bench) -> Mapping[str, float]:
    """Count lost, duplicate and ghost jobs, and clear the tables."""
    lost, duplicate, ghost = servers.rows(TALLY)[0]
    servers.rows(CLEAR)
    return {"lost": lost, "duplicate": duplicate, "ghost": ghost}
