"""Speed of imports against COPY of the same rows, and memory of imports and exports."""

import json

from scripts.commands.bench.report import Numbers
from scripts.commands.bench.servers import Bench, python
from scripts.devstack.progress import say, step


def measure(servers: Bench, rows: int) -> Numbers:
    """Import and COPY `rows` contacts into new brands, without and with a phone number, and export them.

    Returns:
        `ratio_copy`: seconds of COPY by seconds of the import, without a phone column; `ratio_copy_with_phone`. Growth
        of memory in MB after the first batches: `import_growth_mb`, `export_growth_mb`.
    """
    with step(f"Importing {rows} contacts, and COPY of the same rows"):
        found: Numbers = json.loads(
            servers.run("import", python("scripts.commands.bench.import_calls", str(rows)), servers.environment())
        )
    say(
        f"  {found['import_per_second']} contacts per second ({found['ratio_copy']:.2f} of COPY); with phone numbers "
        f"{found['import_per_second_with_phone']} ({found['ratio_copy_with_phone']:.2f})"
    )
    return found
