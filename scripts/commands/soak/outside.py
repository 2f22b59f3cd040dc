"""A vendor in the outside world: acts once per idempotency key, and sometimes keeps its answer to itself."""

import json
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UNANSWERED = 0.1
"""Of its answers the part that gets lost after the act."""


class Outside:
    """An HTTP server that remembers which acts it was asked for, by business key and idempotency key."""

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
        """Where to POST an act."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Listen."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()

    def act(self, idempotency_key: str, key: str) -> bool:
        """Act, unless it has been done under this idempotency key; whether the answer is to be lost."""
        with self._lock:
            self.calls += 1
            self._acts.setdefault(idempotency_key, key)
            return self._random.random() < UNANSWERED

    def forget(self) -> None:
        """Nothing has been done yet."""
        with self._lock:
            self._acts.clear()
            self.calls = 0

    def acts(self) -> Counter[str]:
        """How often it has acted, by business key."""
        with self._lock:
            return Counter(self._acts.values())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if outside.act(self.headers["Idempotency-Key"], body["key"]):
                    self.close_connection = True
                    return
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Say nothing."""

        return Handler
