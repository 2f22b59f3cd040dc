"""The ways in which things go wrong: each does its harm and says how it is put right again, and when."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from scripts.commands.soak.stage import Stage

Undo = tuple[float, Callable[[], None]]
"""Seconds from now, and what ends the fault then."""
Fault = Callable[[Stage], Undo | None]


def kill_worker(stage: Stage) -> None:
    """One worker process of one worker; its master ends the rest."""
    _signal(stage.one_of("worker").family()[-1], signal.SIGKILL)


def kill_worker_whole(stage: Stage) -> None:
    """A whole worker, as when its machine goes."""
    os.killpg(stage.one_of("worker").process.pid, signal.SIGKILL)


def kill_relay(stage: Stage) -> None:
    """A relay."""
    _signal(stage.one_of("relay").process.pid, signal.SIGKILL)


def stop_worker(stage: Stage) -> Undo:
    """A worker stands still, with its locks and connections."""
    return _stopped(stage.one_of("worker").family(), 2.5)


def stop_relay(stage: Stage) -> Undo:
    """A relay stands still."""
    return _stopped(stage.one_of("relay").family(), 2.5)


def kill_redis(stage: Stage) -> Undo:
    """Redis dies and comes back a little later, with what it had written down."""
    stage.redis.kill()
    return 0.5, stage.redis.start


def stop_redis(stage: Stage) -> Undo:
    """Redis stands still for longer than anybody waits for it."""
    assert stage.redis.process is not None
    return _stopped([stage.redis.process.pid], 3.5)


def flush_redis(stage: Stage) -> None:
    """Redis forgets everything."""
    stage.client().flushall()


def restart_postgres(stage: Stage) -> None:
    """PostgreSQL is restarted, fast: every session ends."""
    stage.postgres.restart()


def crash_postgres(stage: Stage) -> None:
    """PostgreSQL ends without a checkpoint, and recovers from its log."""
    assert stage.postgres.process is not None
    stage.postgres.process.send_signal(signal.SIGQUIT)
    stage.postgres.process.wait()
    stage.postgres.start()


def kill_backend(stage: Stage) -> None:
    """A server process of PostgreSQL's is killed: it ends all the others and recovers, under the same postmaster."""
    for pid in stage.backends("companon-worker")[:1]:
        _signal(pid, signal.SIGKILL)


def reset_postgres(stage: Stage) -> None:
    """Every connection to PostgreSQL is reset."""
    stage.to_postgres.reset_all()


def reset_redis(stage: Stage) -> None:
    """Every connection to Redis is reset."""
    stage.to_redis.reset_all()


def refuse_postgres(stage: Stage) -> Undo:
    """PostgreSQL's port is closed."""
    stage.to_postgres.refuse()
    return 1.0, stage.to_postgres.heal


def blackhole_postgres(stage: Stage) -> Undo:
    """What is sent to PostgreSQL vanishes."""
    stage.to_postgres.blackhole()
    return 2.0, stage.to_postgres.heal


def blackhole_redis(stage: Stage) -> Undo:
    """What is sent to Redis vanishes, for longer than anybody waits for it."""
    stage.to_redis.blackhole()
    return 4.0, stage.to_redis.heal


def slow_postgres(stage: Stage) -> Undo:
    """Every byte takes 20 ms each way."""
    stage.to_postgres.latency(0.02)
    return 2.0, stage.to_postgres.heal


def cut_postgres(stage: Stage) -> None:
    """An answer is cut off in the middle; it may be that to a COMMIT or a claim."""
    stage.to_postgres.cut_after(stage.random.randrange(20, 2000))


def cut_redis(stage: Stage) -> None:
    """An answer is cut off in the middle; it may be ids that Redis no longer holds."""
    stage.to_redis.cut_after(stage.random.randrange(5, 400))


FAULTS: tuple[Fault, ...] = (
    kill_worker,
    cut_postgres,
    flush_redis,
    stop_worker,
    reset_postgres,
    kill_redis,
    kill_relay,
    crash_postgres,
    cut_redis,
    blackhole_redis,
    restart_postgres,
    kill_worker_whole,
    stop_relay,
    blackhole_postgres,
    reset_redis,
    kill_backend,
    stop_redis,
    slow_postgres,
    refuse_postgres,
)
"""Every kind of fault, the first ones the likeliest to find something."""


def _stopped(pids: list[int], seconds: float) -> Undo:
    for pid in pids:
        _signal(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in pids:
            _signal(pid, signal.SIGCONT)

    return seconds, go_on


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
