"""List or check the settings of this environment."""

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import fields

from scripts.commands.replay.tables import print_lines, table
from scripts.commands.settings import options
from settings import PROCESSES, Settings, misspelt, read, variables


def main(argv: list[str]) -> int:
    """Run the command. Return 1 if it has to check the settings and one is at fault."""
    given = options.parse(argv)
    if not given.check:
        print_lines("\n".join(table(("variable", "value", "source"), _rows(os.environ, given.process))))
        return 0
    faults = list(check(os.environ, [given.process] if given.process else PROCESSES))
    print_lines("\n".join(f"✗ {fault}" for fault in faults) if faults else "No fault found")
    return 1 if faults else 0


def check(environ: Mapping[str, str], processes: Sequence[str]) -> Iterator[str]:
    """Return all faults of the variables that these processes read, one line for each variable."""
    settings, unreadable = read(environ)
    relevant = {name for process in processes for name in variables(process)}
    yield from (fault for name, fault in unreadable.items() if name in relevant)
    yield from (f"{name} is unknown: did you mean {known}?" for name, known in misspelt(environ).items())
    if settings.environment == "production":
        for name in unreadable:
            os.environ.pop(name, None)  # The import below reads the environment; these are reported already.
        yield from _unfit(environ, settings, processes, unreadable)


def _unfit(
    environ: Mapping[str, str], settings: Settings, processes: Sequence[str], reported: Container[str]
) -> Iterator[str]:
    from models.operations import settings_check  # imported here: it refuses to load unreadable settings

    found = [fault.strip() for process in processes for fault in settings_check.find_faults(settings, process)]
    found += [fault.strip() for fault in settings_check.redirections(environ)]
    yield from (fault for fault in dict.fromkeys(found) if fault.split()[0] not in reported)


def _rows(environ: Mapping[str, str], process: str | None) -> Iterator[tuple[str, str, str]]:
    settings, unreadable = read(environ)
    wanted = variables(process)
    for declared in fields(Settings):
        name = declared.metadata["env"]
        if name not in wanted:
            continue
        is_set = name in environ
        value = str(getattr(settings, declared.name))
        if declared.metadata["secret"]:
            value = "(secret)" if value else ""
        yield name, "(can't be read)" if name in unreadable else value, "environment" if is_set else "default"
