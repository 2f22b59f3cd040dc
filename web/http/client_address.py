"""Find the client address of a request, and the part of an address that one customer owns."""

import logging
import time
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from settings import Network

logger = logging.getLogger(__name__)

REPORT_SECONDS = 60.0
"""Seconds between two warnings about `X-Forwarded-For`."""

_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are an IPv4 address. All IPv4 clients behind a translator would share one /64."""


@lru_cache(maxsize=4096)
def canonical(text: str) -> str:
    """Return an address without port and brackets, IPv4 embedded in IPv6 as IPv4; an empty text if it isn't one."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(_unwrapped(ip_address(text)))
    except ValueError:
        return ""


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


@lru_cache(maxsize=4096)
def partition(address: str) -> str:
    """Return the part of a client's address that one customer owns: an IPv4 address, or an IPv6 /64."""
    try:
        parsed = _unwrapped(ip_address(address))
    except ValueError:
        return "unknown"
    return str(parsed if parsed.version == 4 else ip_network((parsed, 64), strict=False))


@lru_cache(maxsize=4096)
def network(address: str) -> str:
    """Return the network of a client's address, for logs: an IPv4 /24 or an IPv6 /48, which name no household."""
    try:
        parsed = _unwrapped(ip_address(address))
    except ValueError:
        return "unknown"
    return str(ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))


class Proxies:
    """The trusted proxies in front, each of which appends its caller's address to `X-Forwarded-For`.

    Args:
        count: number of proxies; with `networks`, the maximum number.
        networks: networks of the proxies. If given, only addresses that a proxy in them has appended are used.
    """

    def __init__(self, count: int, networks: Sequence[Network] = ()) -> None:
        self._count = count
        self._networks = networks
        self._unreported = 0
        self._report_at = float("-inf")

    def client_address(self, peer: str, forwarded_for: str | None, *, report: bool = True) -> str:
        """Return the address that a request comes from.

        It is the address that the outermost trusted proxy has appended. If the field contradicts the settings, return
        the peer's address. With `report`, log a warning, at most once in `REPORT_SECONDS`.
        """
        near = canonical(peer) or peer
        if not self._count:
            return near
        hops = [hop.strip() for hop in forwarded_for.split(",")] if forwarded_for else []
        address, contradiction = self._beyond(near, hops)
        if contradiction and report:
            self._report(contradiction)
        return address or near

    def _beyond(self, near: str, hops: Sequence[str]) -> tuple[str, str]:
        """Return the client's address and an empty text; or an empty text and the contradiction."""
        if self._networks:
            return self._followed(near, hops)
        if len(hops) < self._count:
            return "", f"{len(hops)} addresses instead of {self._count} or more"
        address = canonical(hops[-self._count])
        return address, "" if address else "the client's address is not an IP address"

    def _followed(self, near: str, hops: Sequence[str]) -> tuple[str, str]:
        if not self._is_trusted(near):
            return "", "the peer is in none of TRUSTED_PROXY_NETWORKS"
        address = near
        for hop in reversed(hops[-self._count :]):
            address = canonical(hop)
            if not address:
                return "", "one of the addresses is not an IP address"
            if not self._is_trusted(address):
                break
        return address, "" if hops else "the field has no address"

    def is_proxy(self, peer: str) -> bool:
        """Return whether a peer is one of the proxies. Without `networks`, every peer counts as one."""
        return bool(self._count) and (not self._networks or self._is_trusted(canonical(peer)))

    def _is_trusted(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._networks)

    def _report(self, contradiction: str) -> None:
        self._unreported += 1
        now = time.monotonic()
        if now < self._report_at:
            return
        logger.warning(
            "X-Forwarded-For contradicts TRUSTED_PROXIES in %d requests: %s. The peer counts as the client"
            " (docs/security.md, where a request comes from)",
            self._unreported,
            contradiction,
        )
        self._unreported, self._report_at = 0, now + REPORT_SECONDS
