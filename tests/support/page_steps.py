"""The steps of a page that a reader follows: files to create, lines to add, commands to run."""

import re
from dataclasses import dataclass
from pathlib import Path

_STEP = re.compile(r"<!-- (file|in|shell) (\S+?)(?:, after: (.*?))? -->\n```\w*\n(.*?)```\n", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A block of a page: `file` with its path, `in` with the path and the line before it, or `shell` with a name."""

    kind: str
    name: str
    after: str
    text: str

    def apply(self, folder: Path) -> None:
        """Create the file, or add the lines, in a checkout."""
        path = folder / self.name
        if self.kind == "file":
            assert not path.exists(), f"{self.name} exists already"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.text)
        elif self.kind == "in":
            before, line, rest = path.read_text().partition(f"{self.after}\n")
            assert line, f"{self.name} has no line {self.after!r}"
            path.write_text(before + line + self.text + rest)


def read(page: Path) -> list[Step]:
    """Return the steps of a page in their order."""
    return [Step(*(part or "" for part in found)) for found in _STEP.findall(page.read_text())]
