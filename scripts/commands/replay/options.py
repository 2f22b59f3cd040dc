"""The command line of `./scripts/replay`, known before anything is installed."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.devstack.environment import ROOT

EPILOG = """
Whoever signs in has to be a System Admin; what is done is in the audit trail under their name. COMPANON_TOKEN is taken
as an access token, and --email asks for a password and a code. Without either, a system on this machine is entered as
its admin.
"""


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    return parser().parse_args(argv)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="scripts/replay", description="Jobs that died, and how they run again.")
    made.epilog = EPILOG.strip()
    subjects = made.add_subparsers(dest="subject", required=True, metavar="{jobs,trail}")
    verbs = subjects.add_parser("jobs", help="dead letters, and jobs that wait or run").add_subparsers(
        dest="verb", required=True, metavar="{list,show,run,cancel,pause,resume}"
    )
    common = _common()
    _add_letters(verbs, common)
    _add_control(verbs, common)
    trail = subjects.add_parser("trail", parents=[common], help="what happened because of a request")
    trail.add_argument("id", metavar="REQUEST_ID", help="or a correlation id, or the trace id of a traceparent")
    trail.set_defaults(verb="trail")
    return made


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--api", help="where the API answers (default: the system on this machine)")
    common.add_argument("--email", help="who signs in; the password and a code of the authenticator are asked for")
    common.add_argument("--code", help="the code of the authenticator, where nobody can be asked for it")
    common.add_argument(
        "--run", type=Path, default=ROOT / "var" / "run.json", help="what a local system says of itself"
    )
    common.add_argument("--json", action="store_true", help="print what the API answers")
    return common


def _add_letters(verbs: Any, common: argparse.ArgumentParser) -> None:
    found = verbs.add_parser("list", parents=[common], help="what died, by what it died of; and what is paused")
    _add_conditions(found)
    show = verbs.add_parser("show", parents=[common], help="one job, or the letters of one group")
    show.add_argument("id", metavar="ID", help="a job's id, or a group's fingerprint")
    run = verbs.add_parser(
        "run", parents=[common], help="replay one, a group, a brand, a period, or what is in all of them"
    )
    run.add_argument("ids", nargs="*", metavar="ID", help="jobs by their ids")
    run.add_argument("--group", metavar="FINGERPRINT", help="those that died of the same")
    _add_conditions(run)
    run.add_argument("--args", type=_arguments, help="other arguments for a single one, as a JSON array")
    run.add_argument("--rate", type=float, help="how many a second (default: all at once)")
    run.add_argument("--dry-run", action="store_true", help="only say what would be done")
    run.add_argument("--yes", action="store_true", help="don't ask")


def _add_conditions(to: argparse.ArgumentParser) -> None:
    to.add_argument("--actor", help="of one kind, e.g. scan.score")
    to.add_argument("--brand", metavar="ID", help="of one brand")
    to.add_argument("--from", dest="since", metavar="TIME", help="that died then or later (RFC 3339)")
    to.add_argument("--to", dest="until", metavar="TIME", help="that died before then")


def _add_control(verbs: Any, common: argparse.ArgumentParser) -> None:
    cancel = verbs.add_parser("cancel", parents=[common], help="cancel a job that waits, ask one that runs to stop")
    cancel.add_argument("id", metavar="ID")
    for verb, said in (("pause", "let jobs of an actor or a queue wait"), ("resume", "let them go on")):
        added = verbs.add_parser(verb, parents=[common], help=said)
        added.add_argument("name", metavar="NAME", help="an actor, or with --queue a queue")
        added.add_argument("--queue", action="store_true", help="all actors of that queue")
        if verb == "pause":
            added.add_argument("--reason", required=True, help="why; others will want to know")


def _arguments(text: str) -> list[Any]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise argparse.ArgumentTypeError("a JSON array, e.g. '[\"a\", 1]'")
    return found
