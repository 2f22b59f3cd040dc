"""A vendor that acts once per idempotency key and loses some of its answers."""

import json
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LOST_ANSWERS = 0.1
"""Share of answers that are lost after the act, 0 to 1."""


class Vendor:
    """An HTTP server that records acts by business key and idempotency key."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._acts: dict[str, str] = {}
        self.calls = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.1], daemon=True)

    @property
    def url(self) -> str:
        """URL that accepts acts by POST."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def act(self, idempotency_key: str, key: str) -> bool:
        """Act once per idempotency key. Return whether to lose the answer."""
        with self._lock:
            self.calls += 1
            self._acts.setdefault(idempotency_key, key)
            return self._random.random() < LOST_ANSWERS

    def clear(self) -> None:
        """Delete all recorded acts."""
        with self._lock:
            self._acts.clear()
            self.calls = 0

    def acts(self) -> Counter[str]:
        """Return the number of acts by business key."""
        with self._lock:
            return Counter(self._acts.values())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if vendor.act(self.headers["Idempotency-Key"], body["key"]):
                    self.close_connection = True
                    return
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        return Handler
