"""`bench logins`: as many sign-ins as the web tier takes, and what other requests feel of it.

Many clients sign in with the right password, each as soon as the last answer is there: by themselves, and while a few
others read their profiles at a calm pace (25 a second each). The same few do that alone before and after each flood.
"""

import argparse
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from scripts.benchmarks.report import Numbers, table
from scripts.benchmarks.servers import Bench, bench, python
from scripts.setup import packages, procfile, sockets
from scripts.setup.environment import ROOT
from scripts.setup.progress import fail, say, step

PEOPLE = 300
"""More than can be signing in at once, so that nobody's attempts run out."""
FLOOD, OTHERS = 24, 4
"""Connections."""
SCRIPT = str(ROOT / "scripts" / "benchmarks" / "logins.lua")


@dataclass
class Found:
    """What came of it so far, round by round."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    """Sign-ins per second of processor time of the web tier and the servers: what one core does."""
    alone_ms: list[float] = field(default_factory=list)
    """Other requests' 95th percentile without a flood, and with one."""
    beside_ms: list[float] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--seconds", type=int, default=4, metavar="N", help="how long each flood lasts")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="floods")


def measure(given: argparse.Namespace) -> Numbers:
    """Sign-ins per second and core, and other requests beside them."""
    packages.ensure_program("wrk")
    found = Found()
    with bench() as servers:
        port = sockets.free_port()
        url = f"http://127.0.0.1:{port}"
        env = servers.environment(PORT=str(port), PUBLIC_URL=url, TRUSTED_PROXIES="1", WEB_CONCURRENCY=_processes())
        with step(f"Making {PEOPLE} people"):
            token = servers.run("people", python("scripts.benchmarks.people", str(PEOPLE)), env).strip()
        servers.spawn("web", procfile.argv(procfile.read(ROOT / "Procfile")["web"]), env)
        with step("Starting gunicorn"):
            servers.until_answers(url + "/readyz")
        _flood(servers, url, 0, 1)
        _ask(servers, url, token, 1)
        for number in range(1, given.rounds + 1):
            _round(servers, url, token, number, given.seconds, found)
        servers.end_all()
    _show(found)
    return _numbers(found)


def _processes() -> str:
    return str(len(os.sched_getaffinity(0)))


def _round(servers: Bench, url: str, token: str, number: int, seconds: int, found: Found) -> None:
    before = _ask(servers, url, token, seconds)
    used = servers.cpu_seconds()
    flooded = _flood(servers, url, number, seconds)
    used = servers.cpu_seconds() - used
    with ThreadPoolExecutor(2) as both:
        flood = both.submit(_flood, servers, url, 100 + number, seconds)
        beside = both.submit(_ask, servers, url, token, seconds)
        others, again = beside.result(), flood.result()
    after = _ask(servers, url, token, seconds)
    signed_in = flooded["answered"].get("200", 0)
    found.per_s.append(signed_in / flooded["seconds"])
    found.per_cpu_s.append(signed_in / used)
    found.alone_ms.append((before["p95_ms"] + after["p95_ms"]) / 2)
    found.beside_ms.append(others["p95_ms"])
    found.answers.update(flooded["answered"])
    found.answers.update(again["answered"])
    say(
        f"  Round {number}: {found.per_s[-1]:.0f} sign-ins/s, {found.per_cpu_s[-1]:.0f} a core; other requests'"
        f" p95 {found.alone_ms[-1]:.1f} ms alone, {found.beside_ms[-1]:.1f} ms beside them"
    )


def _flood(servers: Bench, url: str, number: int, seconds: int) -> dict[str, Any]:
    return _wrk(servers, url, FLOOD, seconds, str(number), str(PEOPLE))


def _ask(servers: Bench, url: str, token: str, seconds: int) -> dict[str, Any]:
    asked = _wrk(servers, url, OTHERS, seconds, token)
    if set(asked["answered"]) != {"200"}:
        fail(f"other requests were answered {asked['answered']}:\n{servers.logs()}")
    return asked


def _wrk(servers: Bench, url: str, connections: int, seconds: int, *arguments: str) -> dict[str, Any]:
    options = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "20s", "-s", SCRIPT, url]
    said = servers.run("wrk", ["wrk", *options, "--", *arguments], servers.environment())
    answer: dict[str, Any] = json.loads(said.splitlines()[-1])
    return answer


def _ratio(found: Found) -> float:
    """Of neighbours in time, the middle one."""
    return median(beside / alone for alone, beside in zip(found.alone_ms, found.beside_ms, strict=True))


def _show(found: Found) -> None:
    say(
        f"Sign-ins: {FLOOD} connections, {_processes()} web processes; others: {OTHERS} connections, 25 requests/s each"
    )
    table(
        ["", "per s", "a core", "others' p95 ms", "alone", "ratio"],
        [
            [
                "sign-ins",
                f"{median(found.per_s):.0f}",
                f"{median(found.per_cpu_s):.0f}",
                f"{median(found.beside_ms):.1f}",
                f"{median(found.alone_ms):.1f}",
                f"{_ratio(found):.2f}",
            ]
        ],
    )
    say("  answers " + ", ".join(f"{status}: {count}" for status, count in sorted(found.answers.items())))


def _numbers(found: Found) -> dict[str, float]:
    return {
        "logins_per_s_per_core": round(median(found.per_cpu_s), 1),
        "logins_per_s": round(median(found.per_s), 1),
        "others_p95_ratio": round(_ratio(found), 2),
        "others_p95_ms": round(median(found.beside_ms), 2),
        "others_alone_p95_ms": round(median(found.alone_ms), 2),
        "refused": sum(count for status, count in found.answers.items() if status != "200"),
        "rounds": len(found.per_s),
    }
