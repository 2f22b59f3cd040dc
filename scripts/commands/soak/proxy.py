"""A TCP proxy in front of a server's Unix socket, which can be told to fail as networks do."""

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LINGER_NONE = struct.pack("ii", 1, 0)
"""With this a socket that is closed says RST, not FIN."""


class Proxy:
    """Listens on a loopback port and hands bytes on, in a thread of its own. May be told things from any thread."""

    def __init__(self, upstream: Path) -> None:
        self.upstream = upstream
        self.port = 0
        self.delay = 0.0
        self.silent = False
        self.cut_in: int | None = None
        self.loop = asyncio.new_event_loop()
        self.links: set[_Link] = set()
        self._server: asyncio.AbstractServer | None = None
        self._thread = threading.Thread(target=self.loop.run_forever, name=f"proxy of {upstream}", daemon=True)

    def start(self) -> None:
        """Listen, on a port that stays the same."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result(5)

    def stop(self) -> None:
        """Reset every connection and end."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self.loop).result(5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()

    def reset_all(self) -> None:
        """Both ends of every connection get an RST."""
        self._tell(self._reset)

    def refuse(self) -> None:
        """Reset every connection and refuse new ones, until `heal`."""
        asyncio.run_coroutine_threadsafe(self._refuse(), self.loop).result(5)

    def blackhole(self) -> None:
        """Swallow every byte without a word, until `heal`; connections are accepted and never answered."""
        self._tell(self._go_silent)

    def latency(self, seconds: float) -> None:
        """Let every byte take that long, each way, until `heal`."""
        self._tell(lambda: setattr(self, "delay", seconds))

    def cut_after(self, count: int) -> None:
        """Hand `count` more bytes on to clients, then reset the connection in the middle of whatever it was."""
        self._tell(lambda: setattr(self, "cut_in", count))

    def heal(self) -> None:
        """Work again; connections that lived through a black hole are reset, as they are when a peer was gone."""
        asyncio.run_coroutine_threadsafe(self._heal(), self.loop).result(5)

    def spend(self, count: int) -> int | None:
        """How many of `count` bytes may still go to a client before the cut, or None where all may."""
        if self.cut_in is None:
            return None
        if count < self.cut_in:
            self.cut_in -= count
            return None
        allowed, self.cut_in = self.cut_in, None
        return allowed

    def _tell(self, do: Callable[[], None]) -> None:
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
        self.delay, self.cut_in = 0.0, None
        if self.silent:
            self.silent = False
            self._reset()
        if self._server is None:
            await self._listen()

    def _go_silent(self) -> None:
        self.silent = True

    def _reset(self) -> None:
        for link in list(self.links):
            link.reset()


class _Link(asyncio.Protocol):
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._client: asyncio.Transport | None = None
        self._server: asyncio.Transport | None = None
        self._early: list[bytes] = []
        self._late: deque[tuple[float, Callable[[bytes], None], bytes]] = deque()
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        """A client: connect to the server on its behalf, unless nothing is to be heard of it."""
        self._client = transport
        self._proxy.links.add(self)
        if not self._proxy.silent:
            self._connecting = self._proxy.loop.create_task(self._connect())

    async def _connect(self) -> None:
        try:
            await self._proxy.loop.create_unix_connection(lambda: _Upstream(self), str(self._proxy.upstream))
        except OSError:
            self.reset()

    def connected(self, server: asyncio.Transport) -> None:
        """The server's side is there."""
        self._server = server
        for data in self._early:
            server.write(data)
        self._early.clear()
        if self not in self._proxy.links:
            self.reset()

    def data_received(self, data: bytes) -> None:
        """From the client."""
        self._pass(self._to_server, data)

    def from_server(self, data: bytes) -> None:
        """From the server."""
        self._pass(self._to_client, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self.reset()

    def reset(self) -> None:
        """End both sides at once."""
        self._proxy.links.discard(self)
        for transport in (self._client, self._server):
            if transport is not None and not transport.is_closing():
                _reset(transport)

    def _pass(self, to: Callable[[bytes], None], data: bytes) -> None:
        if self._proxy.silent:
            return
        if not self._proxy.delay and not self._late:
            to(data)
            return
        self._late.append((self._proxy.loop.time() + self._proxy.delay, to, data))
        self._proxy.loop.call_later(self._proxy.delay, self._flush)

    def _flush(self) -> None:
        while self._late and self._late[0][0] <= self._proxy.loop.time() + 0.001:
            _, to, data = self._late.popleft()
            to(data)

    def _to_server(self, data: bytes) -> None:
        if self._server is None:
            self._early.append(data)
        else:
            self._server.write(data)

    def _to_client(self, data: bytes) -> None:
        if self._client is None:
            return
        allowed = self._proxy.spend(len(data))
        self._client.write(data[:allowed])
        if allowed is not None:
            # Closed in order, so that what was let through arrives: the rest never will.
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
