"""`./scripts/replay`: run a command against the API and print its result as lines or JSON."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from scripts.commands.replay import dead_letters, options
from scripts.commands.replay.session import session
from scripts.commands.replay.tables import print_json, print_lines, table, tree, when
from scripts.devstack.api import Api

Ask = Callable[[str], str]


def main(argv: list[str]) -> int:
    """Run the command and return its exit status."""
    given = options.parse(argv)
    try:
        with session(given) as api:
            code = perform(given, api)
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader, a pager or `head`, has closed the pipe. Discard the rest of the buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def perform(given: argparse.Namespace, api: Api, ask: Ask = input) -> int:
    """Run the command against this API and return the exit status.

    Raises:
        SetupError: the API refused the request.
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


Output = tuple[Any, Iterator[str]]


def _cancel(given: argparse.Namespace, api: Api) -> Output:
    job = api.call("POST", f"/api/v1/jobs/{given.id}/cancel")
    text = "cancelled" if job["state"] == "cancelled" else "is running and ends at its next check"
    return job, iter([f"{job['actor']} {job['id']} {text}"])


def _pause(given: argparse.Namespace, api: Api) -> Output:
    answer = api.call("PUT", _pause_path(given), {"reason": given.reason})
    return answer, (f"{actor['name']} is paused; {actor['waiting']:,} wait" for actor in answer["items"])


def _resume(given: argparse.Namespace, api: Api) -> Output:
    answer = api.call("DELETE", _pause_path(given))
    return answer, (f"{actor['name']} continues; {actor['waiting']:,} wait" for actor in answer["items"])


def _pause_path(given: argparse.Namespace) -> str:
    return f"/api/v1/{'queues' if given.queue else 'actors'}/{given.name}/pause"


def _trail(given: argparse.Namespace, api: Api) -> Output:
    answer = api.call("GET", "/api/v1/jobs/trail", request_id=given.id)
    return answer, _trail_lines(given.id, answer["items"])


def _trail_lines(id: str, jobs: list[dict[str, Any]]) -> Iterator[str]:
    if not jobs:
        yield f"No job belongs to {id}"
        return
    yield from table(
        ("enqueued at", "actor", "state", "subject", "attempts", "ended at", "id", "error"),
        (
            (
                when(job["created_at"]),
                lead + job["actor"],
                job["state"],
                f"{job['subject_type'] or ''} {job['subject_id'] or ''}",
                job["attempts"],
                when(job["finished_at"]),
                job["id"],
                job["error"],
            )
            for lead, job in tree(jobs)
        ),
    )


COMMANDS: dict[str, Callable[[argparse.Namespace, Api], Output]] = {
    "list": dead_letters.list_groups,
    "show": dead_letters.show,
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "trail": _trail,
}
