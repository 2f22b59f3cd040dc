"""`bench rls`: share of context (role, claims, time limit), policies and session check in the time of a request.

The yardstick is the same query by the owner, whom no policy restricts, with the tenant in its WHERE. The other variants
add a context, then the policies of a member, then the session check. They alternate with a GET through the running
application that runs the same query on the same server.
"""

import argparse
import json

from scripts.commands.bench.report import Numbers, table
from scripts.commands.bench.servers import bench, python
from scripts.devstack import procfile, sockets
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import say, step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--requests", type=int, default=3000, metavar="N", help="number of each variant")


def measure(given: argparse.Namespace) -> Numbers:
    """Share of context, policies and session check in the time of a request."""
    with bench() as servers:
        port = sockets.free_port()
        env = servers.environment(PORT=str(port), PUBLIC_URL=f"http://127.0.0.1:{port}", WEB_CONCURRENCY="1")
        servers.spawn("web", procfile.argv(procfile.read(ROOT / "Procfile")["web"]), env)
        with step("Starting gunicorn"):
            servers.until_answers(env["PUBLIC_URL"] + "/readyz")
        with step(f"Measuring {given.requests} requests"):
            said = servers.run(
                "contexts", python("scripts.commands.bench.contexts", str(port), str(given.requests)), env
            )
    us: dict[str, float] = json.loads(said.splitlines()[-1])
    _show(us)
    return {
        "rls_context_share": round(us["of_context"] / us["request"], 4),
        "rls_policies_share": round(us["of_policies"] / us["request"], 4),
        "session_check_share": round(us["of_session"] / us["request"], 4),
        **{f"{name}_us": round(value, 1) for name, value in us.items()},
    }


def _show(us: dict[str, float]) -> None:
    say("\nA request for one campaign, medians\n")
    rows = [
        ("GET /api/v1/campaigns/{id}, one after the other", us["request"]),
        ("its query by the owner, the tenant in WHERE (yardstick)", us["plain"]),
        ("+ context: role, claims and time limit are set", us["of_context"]),
        ("+ policies: rows of the tenant and of assigned campaigns", us["of_policies"]),
        ("+ session: check that it is live", us["of_session"]),
    ]
    table(("", "µs", "of a request"), [(said, f"{value:.0f}", f"{value / us['request']:.1%}") for said, value in rows])
