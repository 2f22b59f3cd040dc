"""`bench logins`: as many sign-ins as the web tier takes, and what other requests feel of them.

Many clients sign in with the right password, each as soon as the last answer is there: that is how many a core can do.
A few others read their profiles at a calm pace (25 a second each): alone before and after, beside sign-ins at the rate
that a core has to bear, and beside the flood.
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
RATE = 20
"""Sign-ins a second and core that nobody else should feel."""
Said = dict[str, Any]
"""What wrk said at the end, by `logins.lua`."""
SCRIPT = str(ROOT / "scripts" / "benchmarks" / "logins.lua")


@dataclass
class Found:
    """What came of it so far, round by round."""

    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)
    """Sign-ins per second of processor time of the web tier and the servers: what one core does."""
    alone_ms: list[float] = field(default_factory=list)
    """Other requests' 95th percentile without sign-ins, with as many as have to be borne, and in a flood of them."""
    beside_ms: list[float] = field(default_factory=list)
    flooded_ms: list[float] = field(default_factory=list)
    offered_share: list[float] = field(default_factory=list)
    """How many of the sign-ins that were to be borne came about."""
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
        _sign_in(servers, url, 0, 1)
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
    flood = _sign_in(servers, url, number, seconds)
    used = servers.cpu_seconds() - used
    borne, beside = _both(servers, url, token, number + 100, seconds, RATE * int(_processes()))
    again, flooded = _both(servers, url, token, number + 200, seconds, 0)
    after = _ask(servers, url, token, seconds)
    signed_in = flood["answered"].get("200", 0)
    found.per_s.append(signed_in / flood["seconds"])
    found.per_cpu_s.append(signed_in / used)
    found.offered_share.append(borne["answered"].get("200", 0) / borne["seconds"] / RATE / int(_processes()))
    found.alone_ms.append((before["p95_ms"] + after["p95_ms"]) / 2)
    found.beside_ms.append(beside["p95_ms"])
    found.flooded_ms.append(flooded["p95_ms"])
    for signing_in in (flood, borne, again):
        found.answers.update(signing_in["answered"])
    calm, nearby, within = (f"{values[-1]:.1f} ms" for values in (found.alone_ms, found.beside_ms, found.flooded_ms))
    say(
        f"  Round {number}: {found.per_s[-1]:.0f} sign-ins/s, {found.per_cpu_s[-1]:.0f} a core; others' p95"
        f" {calm} alone, {nearby} beside {RATE} a core, {within} in the flood"
    )


def _both(servers: Bench, url: str, token: str, number: int, seconds: int, rate: int) -> tuple[Said, Said]:
    """Sign-ins, and others beside them."""
    with ThreadPoolExecutor(2) as both:
        signing_in = both.submit(_sign_in, servers, url, number, seconds, rate)
        others = both.submit(_ask, servers, url, token, seconds)
        return signing_in.result(), others.result()


def _sign_in(servers: Bench, url: str, number: int, seconds: int, rate: int = 0) -> Said:
    return _wrk(servers, url, FLOOD, seconds, str(number), str(PEOPLE), str(rate))


def _ask(servers: Bench, url: str, token: str, seconds: int) -> Said:
    asked = _wrk(servers, url, OTHERS, seconds, token)
    if set(asked["answered"]) != {"200"}:
        fail(f"other requests were answered {asked['answered']}:\n{servers.logs()}")
    return asked


def _wrk(servers: Bench, url: str, connections: int, seconds: int, *arguments: str) -> Said:
    options = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "20s", "-s", SCRIPT, url]
    said = servers.run("wrk", ["wrk", *options, "--", *arguments], servers.environment())
    answer: Said = json.loads(said.splitlines()[-1])
    return answer


def _ratio(found: Found, beside_ms: list[float]) -> float:
    """Of neighbours in time, the middle one."""
    return median(beside / alone for alone, beside in zip(found.alone_ms, beside_ms, strict=True))


def _show(found: Found) -> None:
    say(
        f"{_processes()} web processes; sign-ins: {FLOOD} connections; others: {OTHERS} connections, 25 requests/s each"
    )
    said = (("alone", found.alone_ms), (f"beside {RATE} a core", found.beside_ms), ("in the flood", found.flooded_ms))
    table(
        ("others' p95", "ms", "ratio"),
        [(name, f"{median(values):.1f}", f"{_ratio(found, values):.2f}") for name, values in said],
    )
    say(f"  flood: {median(found.per_s):.0f} sign-ins/s, {median(found.per_cpu_s):.0f} a core")
    say("  answers " + ", ".join(f"{status}: {count}" for status, count in sorted(found.answers.items())))


def _numbers(found: Found) -> dict[str, float]:
    return {
        "logins_per_s_per_core": round(median(found.per_cpu_s), 1),
        "logins_per_s": round(median(found.per_s), 1),
        "offered_share": round(median(found.offered_share), 3),
        "others_p95_ratio": round(_ratio(found, found.beside_ms), 2),
        "flooded_p95_ratio": round(_ratio(found, found.flooded_ms), 2),
        "others_alone_p95_ms": round(median(found.alone_ms), 2),
        "others_p95_ms": round(median(found.beside_ms), 2),
        "flooded_p95_ms": round(median(found.flooded_ms), 2),
        "refused": sum(count for status, count in found.answers.items() if status != "200"),
        "rounds": len(found.per_s),
    }
