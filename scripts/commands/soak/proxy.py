"""A TCP proxy in front of a server's Unix socket that simulates network failures."""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LINGER_NONE = struct.pack("ii", 1, 0)
"""Value of SO_LINGER with which a closed socket sends RST instead of FIN."""


class Proxy:
    """Listens on a loopback port and forwards bytes in its own thread. Its methods are thread-safe."""

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.port = 0
        self.delay = 0.0
        self.drops_bytes = False
        self.bytes_until_cut: int | None = None
        self.loop = asyncio.new_event_loop()
        self.links: set[_Link] = set()
        self._server: asyncio.AbstractServer | None = None
        self._thread = threading.Thread(target=self.loop.run_forever, name=f"proxy of {upstream}", daemon=True)

    def start(self) -> None:
        """Start listening on a port that stays the same."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(5)

    def stop(self) -> None:
        """Reset every connection and stop."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    def reset_all(self) -> None:
        """Send RST to both ends of every connection."""
        self._call(self._reset)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self.loop).result(5)

    def blackhole(self) -> None:
        """Drop every byte until `heal`. Connections are accepted and never answered."""
        self._call(self._drop_bytes)

    def latency(self, seconds: float) -> None:
        """Delay every byte by `seconds` each way until `heal`."""
        self._call(lambda: setattr(self, "delay", seconds))

    def cut_after(self, count: int) -> None:
        """Forward `count` more bytes to clients, then reset the connection in the middle of an answer."""
        self._call(lambda: setattr(self, "bytes_until_cut", count))

    def heal(self) -> None:
        """End all failures. Connections whose bytes were dropped are reset, as a peer that restarted would do."""
        asyncio.run_coroutine_threadsafe(self._heal(), self.loop).result(5)

    def limit_bytes(self, count: int) -> int | None:
        """Return how many of `count` bytes to forward before the cut, or None for all."""
        if self.bytes_until_cut is None:
            return None
        if count < self.bytes_until_cut:
            self.bytes_until_cut -= count
            return None
        allowed, self.bytes_until_cut = self.bytes_until_cut, None
        return allowed

    def _call(self, do: Callable[[], None]) -> None:
        self.loop.call_soon_threadsafe(do)

    async def _listen(self) -> None:
        self._server = await self.loop.create_server(lambda: _Link(self), "127.0.0.1", self.port, reuse_address=True)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._reset()

    async def _heal(self) -> None:
        self.delay, self.bytes_until_cut = 0.0, None
        if self.drops_bytes:
            self.drops_bytes = False
            self._reset()
        if self._server is None:
            await self._listen()

    def _drop_bytes(self) -> None:
        self.drops_bytes = True

    def _reset(self) -> None:
        for link in list(self.links):
            link.reset()


class _Link(asyncio.Protocol):
    """A client's connection and its connection to the server."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._delayed: deque[tuple[float, Callable[[bytes], None], bytes]] = deque()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """Connect to the server for a new client, unless bytes are dropped."""
        self._client = transport
        self._proxy.links.add(self)
        if not self._proxy.drops_bytes:
            self._connecting = self._proxy.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._proxy.loop.create_unix_connection(lambda: _Upstream(self), str(self._proxy.upstream))
        except OSError:
            self.reset()

    def connected(self, server: asyncio.Transport) -> None:
        """Forward the bytes that arrived before the server's side was connected."""
        self._server = server
        for data in self._unsent:
            server.write(data)
        self._unsent.clear()
        if self not in self._proxy.links:
            self.reset()

    def data_received(self, data: bytes) -> None:
        """Forward bytes of the client."""
        self._pass(self._to_server, data)

    def from_server(self, data: bytes) -> None:
        """Forward bytes of the server."""
        self._pass(self._to_client, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Reset the server's side."""
        self.reset()

    def reset(self) -> None:
        """Reset both sides."""
        self._proxy.links.discard(self)
        for transport in (self._client, self._server):
            if transport is not None and not transport.is_closing():
                _reset(transport)

    def _pass(self, to: Callable[[bytes], None], data: bytes) -> None:
        if self._proxy.drops_bytes:
            return
        if not self._proxy.delay and not self._delayed:
            to(data)
            return
        self._delayed.append((self._proxy.loop.time() + self._proxy.delay, to, data))
        self._proxy.loop.call_later(self._proxy.delay, self._flush)

    def _flush(self) -> None:
        while self._delayed and self._delayed[0][0] <= self._proxy.loop.time() + 0.001:
            _, to, data = self._delayed.popleft()
            to(data)

    def _to_server(self, data: bytes) -> None:
        if self._server is None:
            self._unsent.append(data)
        else:
            self._server.write(data)

    def _to_client(self, data: bytes) -> None:
        if self._client is None:
            return
        allowed = self._proxy.limit_bytes(len(data))
        self._client.write(data[:allowed])
        if allowed is not None:
            # Closed in order: the forwarded bytes have to arrive.
            self._client.close()
            self.reset()


class _Upstream(asyncio.Protocol):
    """The server's side of a link."""

    def __init__(self, link: _Link) -> None:
        self._link = link

    def connection_made(self, transport: Any) -> None:
        self._link.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._link.from_server(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.reset()


def _reset(transport: asyncio.Transport) -> None:
    found = transport.get_extra_info("socket")
    if found is not None and found.family == socket.AF_INET:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()
