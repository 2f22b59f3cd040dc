"""Failures of the proxy as its clients see them."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.commands.soak.proxy import Proxy

SHORT = 0.3


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Yield a proxy in front of an echo server."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "echo"))
    server.listen()
    threading.Thread(target=_serve, args=[server], daemon=True).start()
    proxy = Proxy(tmp_path / "echo")
    proxy.start()
    yield proxy
    proxy.stop()
    server.close()


def _serve(server: socket.socket) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=[client], daemon=True).start()


def _echo(client: socket.socket) -> None:
    while data := client.recv(1000):
        client.sendall(data)


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=60)


def exchange(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return client.recv(1000)


def test_proxy_forwards_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert exchange(client, b"hello") == b"hello"


def test_reset_reaches_client_and_new_connection_works(proxy: Proxy) -> None:
    with connect(proxy) as client:
        exchange(client, b"hello")
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            client.recv(1000)
    with connect(proxy) as another:
        assert exchange(another, b"again") == b"again"


def test_refused_port_accepts_again_after_heal(proxy: Proxy) -> None:
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)

    proxy.heal()

    assert proxy.port == port
    with connect(proxy) as client:
        assert exchange(client, b"hello") == b"hello"


def test_blackhole_drops_bytes_and_heal_resets_connections(proxy: Proxy) -> None:
    with connect(proxy) as client:
        exchange(client, b"hello")
        proxy.blackhole()
        client.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            exchange(client, b"anybody?")
        with connect(proxy) as late:
            late.settimeout(SHORT)
            with pytest.raises(TimeoutError):
                exchange(late, b"anybody?")

        proxy.heal()

        with pytest.raises(ConnectionResetError):
            client.recv(1000)


def test_latency_delays_each_way_and_keeps_order(proxy: Proxy) -> None:
    with connect(proxy) as client:
        exchange(client, b"hello")
        proxy.latency(0.1)
        begin = time.monotonic()
        assert exchange(client, b"1") == b"1"
        assert time.monotonic() - begin >= 0.2
        client.sendall(b"2")
        proxy.heal()
        client.sendall(b"3")
        heard = b""
        while len(heard) < 2:
            heard += client.recv(1000)
        assert heard == b"23"


def test_cut_ends_answer_in_the_middle(proxy: Proxy) -> None:
    with connect(proxy) as client:
        exchange(client, b"hello")
        proxy.cut_after(3)

        assert exchange(client, b"goodbye") == b"goo"
        assert client.recv(1000) == b""
