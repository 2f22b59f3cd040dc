"""The command line of `./scripts/mutate`."""

import argparse
import random
import signal
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.commands.mutate import domains, python_faults, sql_faults
from scripts.commands.mutate.checkout import Checkout, Outcome, Trial, private_copy
from scripts.commands.mutate.faults import Fault, sample
from scripts.devstack.environment import ROOT
from scripts.devstack.progress import fail, say

EQUIVALENT = Path(__file__).with_name("equivalent.txt")
"""Faults that change no behaviour: a comment with the reason, then lines as `--list` prints them."""


def main(argv: list[str]) -> int:
    """Try faults and print the score.

    Returns:
        0 if at least `--floor` percent of the valid faults were noticed and each failure was reliable, otherwise 1.
    """
    given = parser().parse_args(argv)
    faults = _faults(given.paths or list(domains.DEFAULT_PATHS), given.count, given.seed)
    say(f"{len(faults)} faults; --seed {given.seed} chooses them again")
    if given.list:
        for fault in faults:
            say(fault.key())
        return 0
    # A shell starts background jobs with SIGINT ignored; pytest would inherit that and couldn't be ended cleanly.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with private_copy() as checkout:
        trials = [_try(checkout, fault) for fault in faults]
    return _report(trials, given.floor)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="scripts/mutate", description="Count the faults that make a test fail.")
    add = made.add_argument
    add("paths", nargs="*", metavar="PATH", help="files, directories or globs (default: the cores)")
    add("--seed", type=int, default=random.randrange(10**6), metavar="N", help="choose the same faults again")
    add("--count", type=int, default=60, metavar="N", help="number of faults")
    add("--floor", type=int, default=85, metavar="PERCENT", help="lowest score that succeeds")
    add("--list", action="store_true", help="print the faults and try none")
    return made


def _faults(patterns: Sequence[str], count: int, seed: int) -> list[Fault]:
    paths = domains.files(ROOT, list(patterns))
    if not paths:
        fail("No Python or SQL file matches: " + " ".join(patterns))
    finders = {path: sql_faults.sites if path.suffix == ".sql" else python_faults.sites for path in paths}
    return sample(ROOT, finders, count, seed, excluded=EQUIVALENT.read_text().splitlines())


def _try(checkout: Checkout, fault: Fault) -> Trial:
    trial = checkout.try_fault(fault, domains.tests(checkout.folder, fault.path))
    say(f"{trial.outcome:10} {trial.seconds:4.0f} s  {fault.path}:{fault.line}  {trial.test}")
    if trial.outcome in {Outcome.SURVIVED, Outcome.UNRELIABLE}:
        _show(trial)
    return trial


def _report(trials: Sequence[Trial], floor: int) -> int:
    counts = Counter(trial.outcome for trial in trials)
    valid = counts[Outcome.NOTICED] + counts[Outcome.SURVIVED]
    score = 100 * counts[Outcome.NOTICED] / valid if valid else 100.0
    for trial in trials:
        if trial.outcome is Outcome.SURVIVED:
            say(f"survived: {trial.fault.path}:{trial.fault.line}")
            _show(trial)
    say(
        f"score {score:.0f} %: {counts[Outcome.NOTICED]} of {valid} faults noticed, "
        f"{counts[Outcome.INVALID]} invalid, {counts[Outcome.UNRELIABLE]} unreliable"
    )
    return 0 if score >= floor and not counts[Outcome.UNRELIABLE] else 1


def _show(trial: Trial) -> None:
    for line in trial.fault.changed_lines():
        say(f"    {line}")
