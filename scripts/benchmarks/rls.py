"""`bench rls`: what role, claims, time limit and policies cost, as a share of a whole request.

The yardstick is the same query, with the tenant in its WHERE, by the owner, whom no policy applies to; both, and a GET
through the running application that does the same, take turns on the same server.
"""

import argparse
import json

from scripts.benchmarks.report import Numbers, table
from scripts.benchmarks.servers import bench, python
from scripts.setup import procfile, sockets
from scripts.setup.environment import ROOT
from scripts.setup.progress import say, step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be chosen."""
    parser.add_argument("--requests", type=int, default=3000, metavar="N", help="how many of each")


def measure(given: argparse.Namespace) -> Numbers:
    """A request's query with its context and policies beside the same query without."""
    with bench() as servers:
        port = sockets.free_port()
        env = servers.environment(PORT=str(port), PUBLIC_URL=f"http://127.0.0.1:{port}", WEB_CONCURRENCY="1")
        servers.spawn("web", procfile.argv(procfile.read(ROOT / "Procfile")["web"]), env)
        with step("Starting gunicorn"):
            servers.until_answers(env["PUBLIC_URL"] + "/readyz")
        with step(f"Measuring {given.requests} requests"):
            said = servers.run("contexts", python("scripts.benchmarks.contexts", str(port), str(given.requests)), env)
    us: dict[str, float] = json.loads(said.splitlines()[-1])
    cost = us["context"] - us["plain"]
    share = cost / us["request"]
    _show(us, cost, share)
    return {
        "rls_context_share": round(share, 4),
        "rls_context_us": round(cost, 1),
        "session_check_us": round(us["session"] - us["context"], 1),
        **{f"{name}_us": round(value, 1) for name, value in us.items()},
    }


def _show(us: dict[str, float], cost: float, share: float) -> None:
    say("\nRole, claims, time limit and policies, by medians\n")
    rows = [
        ("GET /api/v1/campaigns/{id}, one after the other", f"{us['request']:.0f}"),
        ("its query, with context and policies", f"{us['context']:.0f}"),
        ("the same without, tenant in WHERE (yardstick)", f"{us['plain']:.0f}"),
        ("context and policies", f"{cost:.0f}"),
        ("looking whether the session is alive", f"{us['session'] - us['context']:.0f}"),
    ]
    table(("", "µs"), rows)
    say(f"\n  {share:.1%} of a request\n")
