"""Faults of processes, servers and networks. A fault that lasts returns the function that ends it, and when."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from scripts.commands.soak.testbed import FaultTestbed

Undo = tuple[float, Callable[[], None]]
"""Seconds from now, and the function that ends the fault."""
Fault = Callable[[FaultTestbed], Undo | None]


def kill_worker(testbed: FaultTestbed) -> None:
    """Kill one child process of a worker; its parent ends the others."""
    _signal(testbed.choose_member("worker").family()[-1], signal.SIGKILL)


def kill_worker_whole(testbed: FaultTestbed) -> None:
    """Kill a worker with all its processes, as a loss of its machine would."""
    os.killpg(testbed.choose_member("worker").process.pid, signal.SIGKILL)


def kill_relay(testbed: FaultTestbed) -> None:
    """Kill a relay."""
    _signal(testbed.choose_member("relay").process.pid, signal.SIGKILL)


def stop_worker(testbed: FaultTestbed) -> Undo:
    """Stop a worker, which keeps its locks and connections, for 2.5 seconds."""
    return _stopped(testbed.choose_member("worker").family(), 2.5)


def stop_relay(testbed: FaultTestbed) -> Undo:
    """Stop a relay for 2.5 seconds."""
    return _stopped(testbed.choose_member("relay").family(), 2.5)


def kill_redis(testbed: FaultTestbed) -> Undo:
    """Kill Redis and start it half a second later with its persisted data."""
    testbed.redis.kill()
    return 0.5, testbed.redis.start


def stop_redis(testbed: FaultTestbed) -> Undo:
    """Stop Redis for longer than the time limit of its clients."""
    assert testbed.redis.process is not None
    return _stopped([testbed.redis.process.pid], 3.5)


def flush_redis(testbed: FaultTestbed) -> None:
    """Delete all data in Redis."""
    testbed.client().flushall()


def restart_postgres(testbed: FaultTestbed) -> None:
    """Restart PostgreSQL in fast mode, which ends every session."""
    testbed.postgres.restart()


def crash_postgres(testbed: FaultTestbed) -> None:
    """Crash PostgreSQL without a checkpoint, so that it recovers from its log."""
    assert testbed.postgres.process is not None
    testbed.postgres.process.send_signal(signal.SIGQUIT)
    testbed.postgres.process.wait()
    testbed.postgres.start()


def kill_backend(testbed: FaultTestbed) -> None:
    """Kill one backend of PostgreSQL. The postmaster ends all others and recovers."""
    for pid in testbed.backends("companon-worker")[:1]:
        _signal(pid, signal.SIGKILL)


def reset_postgres(testbed: FaultTestbed) -> None:
    """Reset every connection to PostgreSQL."""
    testbed.to_postgres.reset_all()


def reset_redis(testbed: FaultTestbed) -> None:
    """Reset every connection to Redis."""
    testbed.to_redis.reset_all()


def refuse_postgres(testbed: FaultTestbed) -> Undo:
    """Close PostgreSQL's port for a second."""
    testbed.to_postgres.refuse()
    return 1.0, testbed.to_postgres.heal


def blackhole_postgres(testbed: FaultTestbed) -> Undo:
    """Drop all bytes to and from PostgreSQL for 2 seconds."""
    testbed.to_postgres.blackhole()
    return 2.0, testbed.to_postgres.heal


def blackhole_redis(testbed: FaultTestbed) -> Undo:
    """Drop all bytes to and from Redis for longer than the time limit of its clients."""
    testbed.to_redis.blackhole()
    return 4.0, testbed.to_redis.heal


def slow_postgres(testbed: FaultTestbed) -> Undo:
    """Delay every byte by 20 ms each way for 2 seconds."""
    testbed.to_postgres.latency(0.02)
    return 2.0, testbed.to_postgres.heal


def cut_postgres(testbed: FaultTestbed) -> None:
    """Cut an answer of PostgreSQL in the middle, such as that to a COMMIT or a claim."""
    testbed.to_postgres.cut_after(testbed.random.randrange(20, 2000))


def cut_redis(testbed: FaultTestbed) -> None:
    """Cut an answer of Redis in the middle, such as ids that Redis no longer holds."""
    testbed.to_redis.cut_after(testbed.random.randrange(5, 400))


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
"""All faults, those first that found most defects."""


def _stopped(pids: list[int], seconds: float) -> Undo:
    for pid in pids:
        _signal(pid, signal.SIGSTOP)

    def resume() -> None:
        for pid in pids:
            _signal(pid, signal.SIGCONT)

    return seconds, resume


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
