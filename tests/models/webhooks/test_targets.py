"""Which URLs brands may let us call."""

import socket
from dataclasses import replace

import pytest

from models.core import http_fetch
from models.webhooks import targets
from models.webhooks.targets import TargetRefused

PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.1"

REFUSED = (
    *(
        "http://hooks.brand.example/",
        "ftp://hooks.brand.example/",
        "https://",
        "hooks.brand.example",
        "",
        "javascript:1",
    ),
    *("https://127.0.0.1/", "https://169.254.169.254/latest", "https://8.8.8.8/", "https://[::1]/"),
    *("https://[::ffff:10.0.0.1]/", "https://[2606:4700::1111]/", "https://[fe80::1%25eth0]/"),
    *("https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://0177.0.0.1/", "https://127.1/"),
    *("https://127.0.0.1./", "https://1.2.3.0x4/", "https://localhost/", "https://brand/", "https://brand.example./"),
    *("https://ana@hooks.brand.example/", "https://ana:x@hooks.brand.example/", "https://a.example@10.0.0.1/"),
    *("https://hooks.brand.example\\@10.0.0.1/", "https://hooks.brand.example/#x", "https://hooks.brand.example/ x"),
    *("https://hooks.bränd.example/", "https://hooks.brand。example/", "https://①②⑦.0.0.1/", "https://a.example/\n"),
    *("https://hooks.brand.example:80/", "https://hooks.brand.example:22/", "https://hooks.brand.example:65536/"),
    *("https://hooks.brand.example:0443/x\t", "https://-a.example/", "https://a..example/", "https://%31.example/"),
)
ALLOWED = (
    "https://hooks.brand.example",
    "https://hooks.brand.example/a/b?c=d&e=%20",
    "https://HOOKS.brand.example:8443/",
    "https://xn--brnd-loa.example:443/x",
)


@pytest.fixture
def production(monkeypatch):
    monkeypatch.setattr(targets, "settings", replace(targets.settings, webhook_local_targets="no"))


@pytest.fixture
def resolves_to(monkeypatch):
    """`resolves_to(*addresses)`: every name has these addresses."""

    def stub(*addresses):
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]
        monkeypatch.setattr(http_fetch.socket, "getaddrinfo", lambda *_, **__: found)

    return stub


@pytest.mark.usefixtures("production")
def test_url_without_public_https_host_is_refused(resolves_to):
    resolves_to(PUBLIC)

    refused = []
    for url in REFUSED:
        with pytest.raises(TargetRefused):
            targets.require_allowed(url)
        refused.append(targets.is_allowed(url))

    assert refused == [False] * len(REFUSED)


@pytest.mark.usefixtures("production")
def test_url_with_public_dns_name_is_allowed(resolves_to):
    resolves_to(PUBLIC)

    for url in ALLOWED:
        targets.require_allowed(url)

    assert all(map(targets.is_allowed, ALLOWED))


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize("addresses", [(PRIVATE,), (PUBLIC, PRIVATE), ("::ffff:10.0.0.1",), ("64:ff9b::a00:1",)])
def test_url_whose_name_has_a_private_address_is_refused(resolves_to, addresses):
    resolves_to(*addresses)

    with pytest.raises(TargetRefused, match="public internet"):
        targets.require_allowed("https://hooks.brand.example/")


@pytest.mark.usefixtures("production")
def test_loopback_is_refused_without_the_setting_of_development():
    assert not targets.allows("127.0.0.1")
    assert not targets.is_allowed("http://127.0.0.1:8080/events")


def test_loopback_is_allowed_with_the_setting_of_development():
    assert targets.allows("127.0.0.1")
    assert targets.is_allowed("http://127.0.0.1:8080/events")
    assert not targets.allows(PRIVATE)
    assert not targets.is_allowed("http://10.0.0.1:8080/events")
