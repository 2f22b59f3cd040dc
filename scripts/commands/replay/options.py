"""The command line of `./scripts/replay`. It needs no installed packages."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.devstack.environment import ROOT

EPILOG = """
You must sign in as a System Admin. Each action is in the audit trail under that name. COMPANON_TOKEN is used as an
access token; --email asks for a password and a code. Without either, the admin of the system on this machine is used.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/replay", description="Search and replay dead letters; control jobs.")
    made.epilog = EPILOG.strip()
    subjects = made.add_subparsers(dest="subject", required=True, metavar="{jobs,trail}")
    verbs = subjects.add_parser("jobs", help="dead letters, and waiting or running jobs").add_subparsers(
        dest="verb", required=True, metavar="{list,show,run,cancel,pause,resume}"
    )
    common = _common()
    _add_dead_letters(verbs, common)
    _add_control(verbs, common)
    trail = subjects.add_parser("trail", parents=[common], help="the jobs that a request caused")
    trail.add_argument("id", metavar="REQUEST_ID", help="or a correlation id, or the trace id of a traceparent")
    trail.set_defaults(verb="trail")
    return made


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--api", help="URL of the API (default: the system on this machine)")
    common.add_argument("--email", help="sign in with this address, a password and an authenticator code")
    common.add_argument("--code", help="authenticator code, if there is no terminal to ask at")
    common.add_argument("--run", type=Path, default=ROOT / "var" / "run.json", help="state file of a local system")
    common.add_argument("--json", action="store_true", help="print the response of the API")
    return common


def _add_dead_letters(verbs: Any, common: argparse.ArgumentParser) -> None:
    found = verbs.add_parser("list", parents=[common], help="groups of dead letters, and paused actors")
    _add_conditions(found)
    show = verbs.add_parser("show", parents=[common], help="one job, or the dead letters of one group")
    show.add_argument("id", metavar="ID", help="a job's id, or a group's fingerprint")
    run = verbs.add_parser("run", parents=[common], help="replay the dead letters that meet all conditions")
    run.add_argument("ids", nargs="*", metavar="ID", help="jobs by their ids")
    run.add_argument("--group", metavar="FINGERPRINT", help="one group")
    _add_conditions(run)
    run.add_argument("--args", type=_arguments, help="new arguments for a single job, as a JSON array")
    run.add_argument("--rate", type=float, help="jobs per second (default: all at once)")
    run.add_argument("--dry-run", action="store_true", help="show the expected result only")
    run.add_argument("--yes", action="store_true", help="do not ask for confirmation")


def _add_conditions(to: argparse.ArgumentParser) -> None:
    to.add_argument("--actor", help="one actor, e.g. scan.score")
    to.add_argument("--brand", metavar="ID", help="one brand")
    to.add_argument("--from", dest="since", metavar="TIME", help="dead since this time or later (RFC 3339)")
    to.add_argument("--to", dest="until", metavar="TIME", help="dead since before this time")


def _add_control(verbs: Any, common: argparse.ArgumentParser) -> None:
    cancel = verbs.add_parser("cancel", parents=[common], help="cancel a waiting job, or request a running one to stop")
    cancel.add_argument("id", metavar="ID")
    for verb, text in (("pause", "pause an actor or a queue"), ("resume", "resume it")):
        added = verbs.add_parser(verb, parents=[common], help=text)
        added.add_argument("name", metavar="NAME", help="an actor, or with --queue a queue")
        added.add_argument("--queue", action="store_true", help="all actors of that queue")
        if verb == "pause":
            added.add_argument("--reason", required=True, help="shown to other admins")


def _arguments(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise argparse.ArgumentTypeError("must be a JSON array, e.g. '[\"a\", 1]'")
    return found
