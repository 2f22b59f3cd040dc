"""Run HTTP counterparts of services as processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from models.core import base64url
from models.passport.services import Route
from scripts.devstack.environment import ROOT

KEY = "test:" + base64url.encode(bytes(range(32)))
"""Key that signs the requests of tests."""
OLD_KEY = "old:" + base64url.encode(bytes(range(1, 33)))
"""Key that counterparts accept, too, as while keys are rotated."""


class Counterpart:
    """A process `tests/counterparts/<name>.py` that serves the document of a service."""

    def __init__(self, name: str, document: Path) -> None:
        self.name = name
        keys = [part for key in (KEY, OLD_KEY) for part in ("--key", key)]
        command = [sys.executable, "-m", f"tests.counterparts.{name}", "--document", str(document), *keys]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    @property
    def route(self) -> Route:
        """Route to the counterpart for `models.passport.services.route`."""
        return Route(self.url, KEY)

    def fail(self, kind: str, **fault: Any) -> None:
        """Inject a fault (tests/counterparts/server.py) into the next `times` calls, 1 by default."""
        self._send("PUT", "/faults", {"kind": kind, **fault})

    def counts(self) -> dict[str, dict[str, int]]:
        """Return the `calls` and `effects` of each operation."""
        found: dict[str, dict[str, int]] = self._send("GET", "/counts")
        return found

    def reset(self) -> None:
        """Empty the store, the counts and the faults."""
        self._send("DELETE", "/store")

    def stop(self) -> None:
        """End the process."""
        self._process.communicate(timeout=10)

    def _send(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        with urlopen(Request(self.url + path, body, method=method), timeout=10) as response:
            return json.loads(response.read())
