"""Distinguish addresses of the public internet from those of private and special networks.

A server that calls URLs of its users must not reach its own network through them (server-side request forgery).
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, with the metadata service of clouds
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # automatic multicast tunneling
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved and broadcast
        ),
    )
)
"""Networks of the IANA IPv4 Special-Purpose Address Registry, and multicast."""

_GLOBAL_V6 = IPv6Network("2000::/3")
"""The only part of IPv6 that is allocated for global unicast. It excludes loopback, mapped IPv4 (`::ffff:0:0/96`),
NAT64 (`64:ff9b::/96`), unique local, link-local and multicast addresses."""
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments, with Teredo, which embeds IPv4 addresses
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which embeds IPv4 addresses
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
"""Special networks within `2000::/3`, of the IANA IPv6 Special-Purpose Address Registry."""


def is_public(address: str) -> bool:
    """Return whether a numeric address belongs to a host of the public internet.

    Args:
        address: as `getaddrinfo` returns it. A zone (`%eth0`) makes it local.
    """
    try:
        parsed: IPv4Address | IPv6Address = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _SPECIAL_V4)
    return parsed.scope_id is None and parsed in _GLOBAL_V6 and not any(parsed in network for network in _SPECIAL_V6)


def is_loopback(address: str) -> bool:
    """Return whether a numeric address is this machine's own."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
