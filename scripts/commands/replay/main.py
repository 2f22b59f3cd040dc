"""`./scripts/replay`: from a command to the API's answer, in lines or in JSON."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from scripts.commands.replay import dead_letters, options
from scripts.commands.replay.api import Api
from scripts.commands.replay.session import session
from scripts.commands.replay.tables import print_json, print_lines, table, tree, when

Ask = Callable[[str], str]


def main(argv: list[str]) -> int:
    """Run the command; return its exit status."""
    given = options.parse(argv)
    try:
        with session(given) as api:
            code = perform(given, api)
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads it, a pager or `head`, has seen enough. What is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def perform(given: argparse.Namespace, api: Api, ask: Ask = input) -> int:
    """Do what is asked, against this API; return the exit status.

    Raises:
        SetupError: it was refused; says why.
    """
    if given.verb == "run":
        return dead_letters.run(given, api, ask if sys.stdin.isatty() or ask is not input else None)
    answer, lines = COMMANDS[given.verb](given, api)
    if given.json:
        print_json(answer)
    else:
        for line in lines:
            print_lines(line)
    return 0


Said = tuple[Any, Iterator[str]]


def _cancel(given: argparse.Namespace, api: Api) -> Said:
    job = api.call("POST", f"/api/v1/jobs/{given.id}/cancel")
    said = "cancelled" if job["state"] == "cancelled" else "runs, and ends where it next looks"
    return job, iter([f"{job['actor']} {job['id']} {said}"])


def _pause(given: argparse.Namespace, api: Api) -> Said:
    answer = api.call("PUT", _pause_path(given), {"reason": given.reason})
    return answer, (f"{actor['name']} is paused; {actor['waiting']:,} wait" for actor in answer["items"])


def _resume(given: argparse.Namespace, api: Api) -> Said:
    answer = api.call("DELETE", _pause_path(given))
    return answer, (f"{actor['name']} goes on; {actor['waiting']:,} wait" for actor in answer["items"])


def _pause_path(given: argparse.Namespace) -> str:
    return f"/api/v1/{'queues' if given.queue else 'actors'}/{given.name}/pause"


def _trail(given: argparse.Namespace, api: Api) -> Said:
    answer = api.call("GET", "/api/v1/jobs/trail", request_id=given.id)
    return answer, _trail_lines(given.id, answer["items"])


def _trail_lines(id: str, links: list[dict[str, Any]]) -> Iterator[str]:
    if not links:
        yield f"No job is known of {id}"
        return
    yield from table(
        ("asked for at", "job", "state", "about", "tries", "ended at", "id", "error"),
        (
            (
                when(link["created_at"]),
                lead + link["actor"],
                link["state"],
                f"{link['subject_type'] or ''} {link['subject_id'] or ''}",
                link["attempts"],
                when(link["finished_at"]),
                link["id"],
                link["error"],
            )
            for lead, link in tree(links)
        ),
    )


COMMANDS: dict[str, Callable[[argparse.Namespace, Api], Said]] = {
    "list": dead_letters.found,
    "show": dead_letters.show,
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "trail": _trail,
}
