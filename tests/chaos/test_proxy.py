"""The proxy fails as networks do: what a client sees of each failure."""

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
    """A proxy in front of a server that says everything back."""
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


def say(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    return client.recv(1000)


def test_bytes_go_through_both_ways(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert say(client, b"hello") == b"hello"


def test_a_reset_is_a_reset_and_a_new_connection_works(proxy: Proxy) -> None:
    with connect(proxy) as client:
        say(client, b"hello")
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            client.recv(1000)
    with connect(proxy) as another:
        assert say(another, b"again") == b"again"


def test_connections_are_refused_until_it_is_healed_and_the_port_stays(proxy: Proxy) -> None:
    port = proxy.port
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)

    proxy.heal()

    assert proxy.port == port
    with connect(proxy) as client:
        assert say(client, b"hello") == b"hello"


def test_a_black_hole_says_nothing_and_what_lived_through_it_is_reset(proxy: Proxy) -> None:
    with connect(proxy) as client:
        say(client, b"hello")
        proxy.blackhole()
        client.settimeout(SHORT)
        with pytest.raises(TimeoutError):
            say(client, b"anybody?")
        with connect(proxy) as late:
            late.settimeout(SHORT)
            with pytest.raises(TimeoutError):
                say(late, b"anybody?")

        proxy.heal()

        with pytest.raises(ConnectionResetError):
            client.recv(1000)


def test_latency_is_paid_each_way_and_order_is_kept(proxy: Proxy) -> None:
    with connect(proxy) as client:
        say(client, b"hello")
        proxy.latency(0.1)
        begin = time.monotonic()
        assert say(client, b"1") == b"1"
        assert time.monotonic() - begin >= 0.2
        client.sendall(b"2")
        proxy.heal()
        client.sendall(b"3")
        heard = b""
        while len(heard) < 2:
            heard += client.recv(1000)
        assert heard == b"23"


def test_an_answer_is_cut_in_the_middle(proxy: Proxy) -> None:
    with connect(proxy) as client:
        say(client, b"hello")
        proxy.cut_after(3)

        assert say(client, b"goodbye") == b"goo"
        assert client.recv(1000) == b""
