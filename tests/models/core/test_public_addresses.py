"""Which addresses belong to the public internet."""

import pytest

from models.core.public_addresses import is_public

SPECIAL = (
    *("0.0.0.0", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.0.8", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.88.99.1"),
    *("::", "::1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808"),
    *("64:ff9b:1::1", "100::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1"),
    *("3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1"),
    *("2001:4860:4860::8888%1", "localhost", "", "127.1", "0x7f000001", "2130706433"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1")
PUBLIC_V6 = ("2001:4860:4860::8888", "2606:4700::1111", "2a00:1450:4003::1", "2001:200::1")


@pytest.mark.parametrize("address", SPECIAL)
def test_special_address_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC + PUBLIC_V6)
def test_global_unicast_address_is_public(address):
    assert is_public(address)
