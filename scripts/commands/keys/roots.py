"""The root secrets (SECRET_KEYS), and the rotation to a new version.

The first version is used for new values; all versions are used for reading. A version is needed as long as values made
with it exist: printed codes, fingerprints and the MACs of the audit chain. So none is removed without `--force`.
"""

from dataclasses import dataclass

from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_root

MOST = 255
"""Highest version: a printed code stores it in one byte."""


@dataclass
class Roots:
    """Root secrets by version, the active one first."""

    versions: dict[int, str]

    @classmethod
    def read(cls, text: str) -> "Roots":
        """Read the value of SECRET_KEYS.

        Raises:
            SetupError: the value has no versions.
        """
        try:
            split = [item.split(":", 1) for item in text.split(",")]
            return cls({int(version): root for version, root in split})
        except ValueError:
            fail("SECRET_KEYS must be a list of `version:secret`")

    def text(self) -> str:
        """Return the value of SECRET_KEYS."""
        return ",".join(f"{version}:{root}" for version, root in self.versions.items())

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the number, use, an empty text, and next step of each version."""
        active, newest = next(iter(self.versions)), max(self.versions)
        return [
            (
                str(version),
                "makes" if version == active else "reads",
                "",
                "promote once every process knows it" if version == newest != active else "",
            )
            for version in self.versions
        ]

    def add(self) -> str:
        """Append a new version and return the next steps."""
        version = max(self.versions) + 1
        if version > MOST:
            fail(f"There are no versions beyond {MOST}")
        self.versions[version] = new_root()
        return f"Version {version} is known once every process has been restarted; `promote` it then"

    def promote(self, key: str | None, *, force: bool) -> str:
        """Make a version the active one and return the next step.

        Raises:
            SetupError: the version does not exist, or is active already.
        """
        version = self._named(key) if key else max(self.versions)
        if version == next(iter(self.versions)):
            fail(f"Version {version} is the active one already; `add` one first")
        self.versions = {version: self.versions.pop(version)} | self.versions
        return (
            f"Version {version} is used for new values once every process has been restarted; all are used for reading"
        )

    def retire(self, key: str | None, *, force: bool) -> str:
        """Remove a version and return the consequence.

        Raises:
            SetupError: the version is the active one, or `force` is not set.
        """
        version = self._named(key) if key else fail("Say which version")
        if version == next(iter(self.versions)):
            fail(f"Version {version} is the active one; `promote` another one first")
        if not force:
            fail(f"Printed codes, fingerprints and seals of version {version} would be unreadable; --force does it")
        del self.versions[version]
        return f"Values made with version {version} are unreadable once every process has been restarted"

    def _named(self, key: str) -> int:
        found = [version for version in self.versions if str(version) == key]
        return found[0] if found else fail(f"There is no version {key}")
