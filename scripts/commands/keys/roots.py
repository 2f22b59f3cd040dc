"""Rotate the root secrets (SECRET_KEYS).

The first version derives the keys of new codes, fingerprints and seals; all versions read existing ones. Codes are
printed, and fingerprints and seals are stored, so a version may be needed for years. Removal requires `--force`.
"""

from dataclasses import dataclass

from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_root

MOST = 255
"""Highest version: a printed code has one byte for it."""


@dataclass
class Roots:
    """Root secrets by version, the active one first."""

    versions: dict[int, str]

    @classmethod
    def read(cls, text: str) -> "Roots":
        """Parse the value of SECRET_KEYS.

        Raises:
            SetupError: the value has no versions.
        """
        try:
            split = [item.split(":", 1) for item in text.split(",")]
            return cls({int(version): root for version, root in split})
        except ValueError:
            fail("SECRET_KEYS must be a list of `version:secret`, separated by commas")

    def text(self) -> str:
        """Return the value of SECRET_KEYS."""
        return ",".join(f"{version}:{root}" for version, root in self.versions.items())

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the number, use, empty creation time and next step of each version."""
        active, newest = next(iter(self.versions)), max(self.versions)
        return [
            (
                str(version),
                "active" if version == active else "reads",
                "",
                "promote after a restart of every process" if version == newest != active else "",
            )
            for version in self.versions
        ]

    def add(self) -> str:
        """Append a new version and return the next steps."""
        version = max(self.versions) + 1
        if version > MOST:
            fail(f"The highest possible version is {MOST}")
        self.versions[version] = new_root()
        return f"Restart every process to load version {version}; then `promote` it"

    def promote(self, key: str | None, *, force: bool) -> str:
        """Make a version the active one and return the next step.

        Raises:
            SetupError: the version doesn't exist, or is already active.
        """
        version = self._named(key) if key else max(self.versions)
        if version == next(iter(self.versions)):
            fail(f"Version {version} is already active; `add` a new one first")
        self.versions = {version: self.versions.pop(version)} | self.versions
        return f"Restart every process to make version {version} active; the other versions still read existing data"

    def retire(self, key: str | None, *, force: bool) -> str:
        """Remove a version and return the consequence.

        Raises:
            SetupError: the version is active, or `force` is false.
        """
        version = self._named(key) if key else fail("Pass the version to retire")
        if version == next(iter(self.versions)):
            fail(f"Version {version} is active; `promote` another one first")
        if not force:
            fail(f"Printed codes, fingerprints and seals of version {version} would become unreadable; use --force")
        del self.versions[version]
        return f"Data of version {version} is unreadable after the restart of every process"

    def _named(self, key: str) -> int:
        found = [version for version in self.versions if str(version) == key]
        return found[0] if found else fail(f"There is no version {key}")
