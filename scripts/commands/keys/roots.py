"""The root secrets (SECRET_KEYS), and how a new version comes into use.

The first version makes new things; all of them read. A version is needed for as long as something made with it is:
codes are printed, fingerprints and the audit trail's seals kept. So none is ever dropped without being forced to.
"""

from dataclasses import dataclass

from scripts.devstack.progress import fail
from scripts.devstack.secrets import new_root

MOST = 255
"""A printed code names its version in one byte."""


@dataclass
class Roots:
    """Root secrets by version, the active one first."""

    versions: dict[int, str]

    @classmethod
    def read(cls, text: str) -> "Roots":
        """From the value of SECRET_KEYS.

        Raises:
            SetupError: it holds no versions.
        """
        try:
            split = [item.split(":", 1) for item in text.split(",")]
            return cls({int(version): root for version, root in split})
        except ValueError:
            fail("SECRET_KEYS holds no `version:secret`")

    def text(self) -> str:
        """Return the value of SECRET_KEYS."""
        return ",".join(f"{version}:{root}" for version, root in self.versions.items())

    def rows(self) -> list[tuple[str, str, str, str]]:
        """For each version: its number, what it does, nothing, and what comes next."""
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
        """Let a version make new things from now on; what to do next.

        Raises:
            SetupError: there is no such version, or it does already.
        """
        version = self._named(key) if key else max(self.versions)
        if version == next(iter(self.versions)):
            fail(f"Version {version} is the active one already; `add` one first")
        self.versions = {version: self.versions.pop(version)} | self.versions
        return f"Version {version} makes what is new once every process has been restarted; the others go on reading"

    def retire(self, key: str | None, *, force: bool) -> str:
        """Drop a version; what that means.

        Raises:
            SetupError: it is the active one, or nobody insists.
        """
        version = self._named(key) if key else fail("Say which version")
        if version == next(iter(self.versions)):
            fail(f"Version {version} is the active one; `promote` another one first")
        if not force:
            fail(f"Printed codes, fingerprints and seals of version {version} would be unreadable; --force does it")
        del self.versions[version]
        return f"Nothing made with version {version} is read any more once every process has been restarted"

    def _named(self, key: str) -> int:
        found = [version for version in self.versions if str(version) == key]
        return found[0] if found else fail(f"There is no version {key}")
