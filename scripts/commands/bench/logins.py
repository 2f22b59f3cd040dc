"""`bench logins`: sign-ins per second and core, and their effect on other requests.

Many clients sign in with the right password, each as soon as its last response has arrived. That is the rate of one
core. Other clients read their profiles at 25 requests per second each: alone before and after, beside sign-ins at the
rate that a core must sustain, and beside the flood.

Hashes of 19 MiB slow down every process that shares the memory. So the yardstick is the same work without hashes, i.e.
sign-ins of fans without an account, beside the same number of hashes by a process with idle priority.
"""

import argparse
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import Bench, bench, python
from scripts.devstack import packages, procfile, sockets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail, say, step

PEOPLE = 300
"""More people than concurrent sign-ins, so that no attempt limit is reached."""
FLOOD, OTHERS = 24, 4
"""Number of connections."""
RATE = 20
"""Sign-ins per second and core that other requests must not notice."""
Result = dict[str, Any]
"""JSON object that `logins.lua` prints at the end."""
SCRIPT = str(ROOT / "scripts" / "commands" / "bench" / "logins.lua")


ALONE, WITHOUT, YARDSTICK, BESIDE, FLOODED = SIDES = (
    "alone",
    f"beside {RATE} a core without passwords",
    f"beside {RATE} a core without, and as many hashes by a separate process (yardstick)",
    f"beside {RATE} a core",
    "in the flood",
)
"""Load beside which the other requests were timed."""


@dataclass
class Found:
    """Results, one element for each round."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    """Sign-ins per second of processor time of the web tier and the servers: the rate of one core."""
    others_ms: dict[str, list[float]] = field(default_factory=lambda: {side: [] for side in SIDES})
    """95th percentile of the other requests, in ms."""
    offered_share: list[float] = field(default_factory=list)
    """Share of the offered sign-ins that succeeded, 0 to 1."""
    answers: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Attempts:
    """Sign-ins: `rate` per second (0: as fast as they are answered) by people with `accounts` accounts (0: none)."""

    number: int
    seconds: int
    rate: int = 0
    accounts: int = PEOPLE
    hashes: bool = False
    """Whether another process hashes as many passwords meanwhile."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="duration of each flood")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of floods")


def measure(given: argparse.Namespace) -> Numbers:
    """Sign-ins per second and core, and their effect on other requests."""
    packages.ensure_program("wrk")
    found = Found()
    with bench() as servers:
        port = sockets.free_port()
        url = f"http://127.0.0.1:{port}"
        env = servers.environment(PORT=str(port), PUBLIC_URL=url, TRUSTED_PROXIES="1", WEB_CONCURRENCY=_processes())
        with step(f"Making {PEOPLE} people"):
            token = servers.run("people", python("scripts.commands.bench.people", str(PEOPLE)), env).strip()
        servers.spawn("web", procfile.argv(procfile.read(ROOT / "Procfile")["web"]), env)
        with step("Starting gunicorn"):
            servers.until_answers(url + "/readyz")
        _sign_in(servers, url, Attempts(0, seconds=1))
        _ask(servers, url, token, 1)
        for number in range(1, given.rounds + 1):
            _round(servers, url, token, number, given.seconds, found)
        servers.end_all()
    _show(found)
    return _numbers(found)


def _processes() -> str:
    return str(len(os.sched_getaffinity(0)))


def _round(servers: Bench, url: str, token: str, number: int, seconds: int, found: Found) -> None:
    rate = RATE * int(_processes())

    def both(part: int, rate: int, **more: Any) -> tuple[Result, Result]:
        return _both(servers, url, token, Attempts(number + part, seconds, rate, **more))

    alone = _ask(servers, url, token, seconds)
    used = servers.cpu_seconds()
    flood = _sign_in(servers, url, Attempts(number, seconds))
    used = servers.cpu_seconds() - used
    _, without = both(40, rate, accounts=0)
    _, yardstick = both(80, rate, accounts=0, hashes=True)
    borne, beside = both(120, rate)
    again, flooded = both(160, 0)
    alone["p95_ms"] = (alone["p95_ms"] + _ask(servers, url, token, seconds)["p95_ms"]) / 2
    signed_in = flood["answered"].get("200", 0)
    found.per_s.append(signed_in / flood["seconds"])
    found.per_cpu_s.append(signed_in / used)
    found.offered_share.append(borne["answered"].get("200", 0) / borne["seconds"] / rate)
    for side, others in zip(SIDES, (alone, without, yardstick, beside, flooded), strict=True):
        found.others_ms[side].append(others["p95_ms"])
    for signing_in in (flood, borne, again):
        found.answers.update(signing_in["answered"])
    p95 = ", ".join(f"{found.others_ms[side][-1]:.1f}" for side in SIDES)
    say(f"  Round {number}: {found.per_s[-1]:.0f} sign-ins/s, {found.per_cpu_s[-1]:.0f} a core; others' p95 {p95} ms")


def _both(servers: Bench, url: str, token: str, attempts: Attempts) -> tuple[Result, Result]:
    """Run sign-ins and other requests at the same time."""
    with ThreadPoolExecutor(3) as together:
        signing_in = together.submit(_sign_in, servers, url, attempts)
        others = together.submit(_ask, servers, url, token, attempts.seconds)
        if attempts.hashes:
            argv = python("scripts.commands.bench.hashes", str(attempts.rate), str(attempts.seconds))
            together.submit(servers.run, "hashes", argv, servers.environment()).result()
        return signing_in.result(), others.result()


def _sign_in(servers: Bench, url: str, attempts: Attempts) -> Result:
    words = (attempts.number, attempts.accounts, attempts.rate)
    return _wrk(servers, url, FLOOD, attempts.seconds, *map(str, words))


def _ask(servers: Bench, url: str, token: str, seconds: int) -> Result:
    asked = _wrk(servers, url, OTHERS, seconds, token)
    if set(asked["answered"]) != {"200"}:
        fail(f"other requests were answered {asked['answered']}:\n{servers.logs()}")
    return asked


def _wrk(servers: Bench, url: str, connections: int, seconds: int, *arguments: str) -> Result:
    options = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "20s", "-s", SCRIPT, url]
    output = servers.run("wrk", ["wrk", *options, "--", *arguments], servers.environment())
    answer: Result = json.loads(output.splitlines()[-1])
    return answer


def _ratio(found: Found, side: str, to: str) -> float:
    """Return the median ratio of neighbouring rounds."""
    return median(one / other for one, other in zip(found.others_ms[side], found.others_ms[to], strict=True))


def _show(found: Found) -> None:
    say(
        f"{_processes()} web processes; sign-ins: {FLOOD} connections; others: {OTHERS} connections, 25 requests/s each"
    )
    rows = [(side, f"{median(found.others_ms[side]):.1f}", f"{_ratio(found, side, YARDSTICK):.2f}") for side in SIDES]
    table(("others' p95", "ms", "ratio"), rows)
    say(f"  flood: {median(found.per_s):.0f} sign-ins/s, {median(found.per_cpu_s):.0f} a core")
    say("  answers " + ", ".join(f"{status}: {count}" for status, count in sorted(found.answers.items())))


def _numbers(found: Found) -> dict[str, float]:
    alone, without, yardstick, beside, flooded = (round(median(found.others_ms[side]), 2) for side in SIDES)
    return {
        "logins_per_s_per_core": round(median(found.per_cpu_s), 1),
        "logins_per_s": round(median(found.per_s), 1),
        "offered_share": round(median(found.offered_share), 3),
        "others_p95_ratio": round(_ratio(found, BESIDE, YARDSTICK), 2),
        "flooded_p95_ratio": round(_ratio(found, FLOODED, ALONE), 2),
        "others_alone_p95_ms": alone,
        "others_without_p95_ms": without,
        "yardstick_p95_ms": yardstick,
        "others_p95_ms": beside,
        "flooded_p95_ms": flooded,
        "refused": sum(count for status, count in found.answers.items() if status != "200"),
        "rounds": len(found.per_s),
    }
