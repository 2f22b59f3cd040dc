"""Headless Chromium, controlled by WebDriver (https://www.w3.org/TR/webdriver2/)."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from scripts.devstack.sockets import free_port

PATIENCE = 60.0
"""Seconds for any action, on a busy machine."""

ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # Tests may run as root.
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
)


class Browser:
    """Session of the driver. CSS selectors name elements."""

    def __init__(self, http: httpx.Client, session: str) -> None:
        self._http = http
        self._session = session

    def open(self, url: str) -> None:
        """Open a page and wait until it has loaded."""
        self._ask("POST", "/url", url=url)

    def run(self, script: str, *args: Any) -> Any:
        """Execute a function body in the page and return its result, or the value of a returned promise."""
        return self._ask("POST", "/execute/sync", script=script, args=list(args))

    def before_pages(self, script: str) -> None:
        """Run a script in every following page, before the scripts of the page."""
        self.command("Page.addScriptToEvaluateOnNewDocument", source=script)

    def resize(self, width: int, height: int) -> None:
        """Show pages at this size in CSS pixels; like a phone if it is narrow."""
        mobile = width < 600
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile
        )

    def command(self, name: str, **params: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._ask("POST", "/goog/cdp/execute", cmd=name, params=params)

    def text(self, selector: str) -> str:
        """Return the visible text of an element; empty if it is not shown."""
        found = "const e = document.querySelector(arguments[0]); return e && e.checkVisibility() ? e.innerText : ''"
        return str(self.run(found, selector))

    def until(self, selector: str) -> str:
        """Wait until an element is shown and has text; return the text."""
        return str(self._poll(lambda: self.text(selector), selector))

    def until_true(self, script: str) -> None:
        """Wait until a function body returns a true value in the page."""
        self._poll(lambda: self.run(script), script)

    def _poll(self, read: Callable[[], Any], awaited: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := read()):
            assert time.monotonic() < deadline, f"no {awaited}: {self.run('return document.body.innerText')}"
            time.sleep(0.02)
        return found

    def click(self, selector: str) -> None:
        """Wait until an element is shown and click it."""
        self.until(selector)
        self._ask("POST", f"/element/{self._find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type text into a field."""
        self._ask("POST", f"/element/{self._find(selector)}/value", text=text)

    def new_tab(self) -> str:
        """Open a tab, switch to it and return its handle."""
        handle = str(self._ask("POST", "/window/new", type="tab")["handle"])
        self.switch_to(handle)
        return handle

    def tab(self) -> str:
        """Return the handle of the current tab."""
        return str(self._ask("GET", "/window"))

    def switch_to(self, handle: str) -> None:
        """Make a tab the current one."""
        self._ask("POST", "/window", handle=handle)

    def _find(self, selector: str) -> str:
        found = self._ask("POST", "/element", using="css selector", value=selector)
        return str(next(iter(found.values())))

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        answer = self._http.request(method, f"/session/{self._session}{path}", json=body if method == "POST" else None)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextmanager
def chromium(home: Path) -> Iterator[Browser]:
    """Run a browser whose profile is under `home`."""
    port = free_port()
    with (home / "chromedriver.log").open("w") as log:
        driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=log, stderr=log)
    http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False)
    try:
        _wait_for(http, driver)
        options = {"args": [*ARGUMENTS, f"--user-data-dir={home / 'profile'}"]}
        wanted = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options}}}
        answer = http.post("/session", json=wanted)
        assert answer.status_code == 200, answer.text
        session = answer.json()["value"]["sessionId"]
        yield Browser(http, session)
        http.delete(f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait()
        http.close()


def _wait_for(http: httpx.Client, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert driver.poll() is None, "chromedriver has ended"
        try:
            if http.get("/status").json()["value"]["ready"]:
                return
        except httpx.ConnectError:
            time.sleep(0.02)
    raise AssertionError("chromedriver is not ready")
