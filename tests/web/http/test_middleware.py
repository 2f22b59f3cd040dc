"""Test the middleware: request ids, traces, client addresses, hosts, CORS and the access log."""

import json
import re
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core.context import RequestInfo, request_info
from settings import Settings
from tests.support.brokers import until
from tests.web.conftest import serving, small_app
from web.http import access_log, client_address
from web.http.client_address import Proxies
from web.http.endpoint import endpoint
from web.http.trace import continue_trace

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Mirror:
    """Answer with the context of the request."""

    @endpoint(permission="public")
    def on_get(self, req, resp):
        info = request_info()
        resp.media = {name: getattr(info, name) for name in RequestInfo.__slots__}

    @endpoint(permission="public")
    def on_post(self, req, resp):
        resp.media = {}


@pytest.fixture
def api(serve):
    return serve({"/mirror": Mirror()}, trusted_proxies=1)


def test_valid_ids_of_the_client_are_kept(api):
    answer = api.get("/mirror", headers={"X-Request-Id": "req-12345", "X-Correlation-Id": "journey.42"})

    assert (answer.json["request_id"], answer.json["correlation_id"]) == ("req-12345", "journey.42")
    assert (answer.headers["x-request-id"], answer.headers["x-correlation-id"]) == ("req-12345", "journey.42")


@pytest.mark.parametrize("sent", ["short", "x" * 65, "with space", "new\tline1", "é" * 8, "a/b/c/d/e", ""])
def test_invalid_request_id_is_replaced(api, sent):
    answer = api.get("/mirror", headers={"X-Request-Id": sent})

    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", answer.headers["x-request-id"])
    assert answer.headers["x-correlation-id"] == answer.headers["x-request-id"]


def test_errors_have_the_request_id(api):
    assert api.get("/nowhere", headers={"X-Request-Id": "req-12345"}).headers["x-request-id"] == "req-12345"


def test_trace_is_continued_with_a_new_span(api):
    version, trace, span, flags = api.get("/mirror", headers={"traceparent": PARENT}).json["traceparent"].split("-")

    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span != "b7ad6b7169203331"


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        "nonsense",
        PARENT.upper(),
        f"ff-{TRACE}-b7ad6b7169203331-01",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT + "-more",
    ],
)
def test_invalid_traceparent_starts_a_new_trace(sent):
    found = continue_trace(sent, "0197a000-0000-7000-8000-00000000000a")

    assert re.fullmatch(r"00-0197a00000007000800000000000000a-[0-9a-f]{16}-00", found)


@pytest.mark.parametrize("request_id", ["our-own-name-for-it", "0" * 32, "0197A000-0000-7000-8000-00000000000A"])
def test_request_id_that_is_no_trace_id_is_not_used_as_one(request_id):
    found = continue_trace(None, request_id)

    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00", found)
    assert request_id.lower().replace("-", "") not in found


def test_later_version_of_traceparent_is_continued():
    assert continue_trace(f"01-{TRACE}-b7ad6b7169203331-03-future", "").startswith(f"00-{TRACE}-")


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("198.51.100.1", None, 0, "198.51.100.1"),
        ("198.51.100.1", "203.0.113.9", 0, "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9", 1, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", 1, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6", 2, "10.0.0.1"),
        ("10.0.0.1", None, 1, "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9:4711", 1, "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:4711", 1, "2001:db8::1"),
        ("10.0.0.1", "2001:DB8::1", 1, "2001:db8::1"),
        ("10.0.0.1", "unknown", 1, "10.0.0.1"),
        ("10.0.0.1", "'; drop table", 1, "10.0.0.1"),
        ("::ffff:203.0.113.9", None, 0, "203.0.113.9"),
        ("64:ff9b::203.0.113.9", None, 0, "203.0.113.9"),
        ("10.0.0.1", "64:ff9b::cb00:7109", 1, "203.0.113.9"),
        ("", None, 0, ""),
    ],
)
def test_client_address_is_what_the_outermost_proxy_appended(peer, forwarded, proxies, address):
    assert Proxies(proxies).client_address(peer, forwarded) == address


OURS = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "address"),
    [
        ("10.0.0.1", "203.0.113.9", 2, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9", 2, "203.0.113.9"),
        ("10.0.0.1", "10.1.1.1, 203.0.113.9", 2, "203.0.113.9"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 2001:db8::2", 2, "203.0.113.9"),
        ("10.0.0.1", "203.0.113.9, 10.0.0.3, 10.0.0.2", 2, "10.0.0.3"),
        ("10.0.0.1", "10.9.9.9", 2, "10.9.9.9"),
        ("203.0.113.9", "6.6.6.6", 2, "203.0.113.9"),
        ("10.0.0.1", "unknown", 2, "10.0.0.1"),
        ("10.0.0.1", None, 2, "10.0.0.1"),
        ("", "6.6.6.6", 2, ""),
    ],
)
def test_only_addresses_appended_by_trusted_networks_count(peer, forwarded, proxies, address):
    assert Proxies(proxies, OURS).client_address(peer, forwarded) == address


@given(st.text(), st.text(), st.integers(0, 3), st.sampled_from([(), OURS]))
def test_random_forwarded_for_returns_an_address(peer, forwarded, proxies, networks):
    assert isinstance(Proxies(proxies, networks).client_address(peer, forwarded), str)


HOP = st.one_of(st.ip_addresses().map(str), st.just("unknown"), st.just("10.1.2.3"))


@given(st.lists(HOP, max_size=4), st.ip_addresses(v=4).filter(lambda address: address not in OURS[0]))
def test_invented_addresses_do_not_change_the_client_address(invented, client):
    appended = [str(client), "10.0.0.2"]
    proxies = Proxies(5, OURS)

    claimed = proxies.client_address("10.0.0.1", ", ".join([*invented, *appended]))

    assert claimed == proxies.client_address("10.0.0.1", ", ".join(appended)) == str(client)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if "X-Forwarded-For" in record.getMessage()]


@pytest.mark.parametrize(
    ("settings", "forwarded"),
    [
        ({"trusted_proxies": 2}, "203.0.113.9"),
        ({"trusted_proxies": 1}, None),
        ({"trusted_proxies": 1}, "unknown"),
        ({"trusted_proxies": 1, "trusted_proxy_networks": "192.0.2.0/24"}, "203.0.113.9"),
    ],
)
def test_contradictory_forwarding_is_reported_once_a_minute(serve, caplog, settings, forwarded):
    api = serve({"/mirror": Mirror()}, **settings)
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}

    assert [api.get("/mirror", headers=headers).json["address"] for _ in range(5)] == [""] * 5
    assert len(warnings(caplog)) == 1
    assert "in 1 requests" in warnings(caplog)[0]


def test_later_report_counts_the_contradictions_in_between(caplog, monkeypatch):
    monkeypatch.setattr(client_address, "REPORT_SECONDS", 0.05)
    proxies, asked = Proxies(2), []

    def reported():
        asked.append(proxies.client_address("10.0.0.1", "203.0.113.9"))
        return len(warnings(caplog)) > 1

    until(reported)
    assert f"in {len(asked) - 1} requests" in warnings(caplog)[1]


def test_health_checks_without_proxy_are_not_reported(serve, caplog):
    api = serve({}, trusted_proxies=1)

    assert api.get("/healthz").status_code == 200
    assert warnings(caplog) == []


def test_invalid_networks_setting_raises_with_its_name():
    with pytest.raises(ValueError, match="TRUSTED_PROXY_NETWORKS"):
        _ = Settings(trusted_proxy_networks="10.0.0.1/8").proxy_networks


def test_every_answer_has_the_security_headers(api):
    for path in ("/mirror", "/nowhere", "/healthz"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"
        assert "geolocation=()" in headers["permissions-policy"]
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "strict-transport-security" not in headers


def test_hsts_is_sent_where_public_url_is_https(serve):
    api = serve({}, public_url="https://api.example.com")

    assert "max-age=" in api.get("/healthz").headers["strict-transport-security"]


def test_only_the_last_forwarded_for_address_is_read(api):
    claims = {"X-Real-IP": "6.6.6.6", "Forwarded": "for=6.6.6.6", "Client-IP": "6.6.6.6", "True-Client-IP": "6.6.6.6"}

    assert api.get("/mirror", headers=claims).json["address"] == ""
    assert api.get("/mirror", headers={"X-Forwarded-For": "6.6.6.6,203.0.113.9"}).json["address"] == "203.0.113.9"


def test_forwarded_for_without_trusted_proxy_is_ignored(serve):
    api = serve({"/mirror": Mirror()}, trusted_proxies=0)

    assert api.get("/mirror", headers={"X-Forwarded-For": "6.6.6.6"}).json["address"] == ""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.companon.com", 200),
        ("API.Companon.COM:443", 200),
        ("api.companon.com.", 200),
        ("www.companon.com", 200),
        ("evil.example", 421),
        ("api.companon.com.evil.example", 421),
        ("evil.example:api.companon.com", 421),
        ("api.companon.com@evil.example", 400),
        ("127.0.0.1", 421),
    ],
)
def test_requests_for_other_hosts_are_refused(serve, host, status):
    api = serve({"/mirror": Mirror()}, allowed_hosts="api.companon.com, www.Companon.com")

    assert api.get("/mirror", host=host).status_code == status


def test_host_in_production_is_that_of_public_url_by_default(serve):
    api = serve({"/mirror": Mirror()}, environment="production", public_url="https://api.companon.com:8443")

    assert api.get("/mirror", host="api.companon.com").status_code == 200
    assert api.get("/mirror", host="evil.example").json["code"] == "misdirected_request"


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8000", 200), ("127.0.0.1:8000", 200), ("[::1]:8000", 200), ("192.0.2.7", 200), ("evil.example", 421)],
)
def test_host_in_development_is_this_machine_or_public_url(serve, host, status):
    api = serve({"/mirror": Mirror()}, environment="development", public_url="http://192.0.2.7:8000")

    assert api.get("/mirror", host=host).status_code == status


@pytest.mark.parametrize("path", ["/healthz", "/healthz/relay", "/healthz/audit", "/readyz", "/metrics"])
def test_probes_accept_any_host(serve, path):
    api = serve({}, allowed_hosts="api.companon.com")

    assert api.get(path, host="10.0.0.7").status_code != 421


@pytest.mark.parametrize("path", ["/healthzx", "/readyz/", "/metrics/x", "/api/v1/healthz"])
def test_path_that_only_resembles_a_probe_needs_our_host(serve, path):
    assert serve({}, allowed_hosts="api.companon.com").get(path, host="10.0.0.7").status_code == 421


def test_long_url_and_large_headers_are_refused(api):
    assert api.get("/mirror/" + "x" * 5000).json["code"] == "uri_too_long"
    assert api.get("/mirror", query_string="x=" + "y" * 5000).json["code"] == "uri_too_long"
    assert api.get("/mirror", headers={f"X-{n}": "y" * 2000 for n in range(9)}).json["code"] == "headers_too_large"


def test_user_agent_is_cut_and_cleaned(api):
    answer = api.get("/mirror", headers={"User-Agent": "a\x85b" + "c" * 1000})

    assert answer.json["user_agent"].startswith("abccc")
    assert len(answer.json["user_agent"]) == 300


def test_path_with_nul_returns_404(serve):
    class Named:
        @endpoint(permission="public")
        def on_get(self, req, resp, name):
            resp.media = {"name": name}

    api = serve({"/named/{name}": Named()})

    assert api.get("/named/é").json == {"name": "é"}
    assert api.get("/named/a%00b").status_code == 404


def test_query_that_is_not_utf8_returns_422(serve):
    api = serve({"/mirror": Mirror()})

    assert api.get("/mirror", query_string="a=%ff").status_code == 422


@pytest.fixture
def cors(serve):
    return serve({"/mirror": Mirror()}, cors_origins="https://app.example.com, https://other.example.com")


def test_cors_allows_configured_origins(cors):
    asked = cors.request(
        "OPTIONS",
        "/mirror",
        headers={"Origin": "https://app.example.com", "Access-Control-Request-Method": "POST"},
    )
    read = cors.get("/mirror", headers={"Origin": "https://app.example.com"})

    assert asked.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "POST" in asked.headers["access-control-allow-methods"]
    assert "authorization" in asked.headers["access-control-allow-headers"]
    assert read.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "location" in read.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in read.headers
    assert "Origin" in read.headers["vary"]


def test_cors_refuses_other_origins(cors):
    for origin in ("https://evil.example.com", "null", "https://app.example.com.evil.com"):
        headers = cors.get("/mirror", headers={"Origin": origin}).headers
        assert "access-control-allow-origin" not in headers
        assert "Origin" in headers["vary"]


def test_cors_preflight_of_other_origins_gets_no_headers(cors):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}

    for origin in ("https://evil.example.com", "null", "http://app.example.com", "https://app.example.com:444", "*"):
        headers = cors.request("OPTIONS", "/mirror", headers={"Origin": origin} | asked).headers
        assert not [name for name in headers if name.startswith("access-control-")]


def test_cors_preflight_is_cacheable_and_allows_no_credentials(cors):
    asked = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PUT"}
    headers = cors.request("OPTIONS", "/mirror", headers=asked).headers

    assert headers["access-control-max-age"] == "600"
    assert "access-control-allow-credentials" not in headers
    assert "*" not in headers["access-control-allow-origin"] + headers["access-control-allow-headers"]


def test_cors_headers_are_set_on_errors(cors):
    answer = cors.get("/nowhere", headers={"Origin": "https://other.example.com"})

    assert answer.headers["access-control-allow-origin"] == "https://other.example.com"


def test_access_log_has_one_line_per_request_without_private_data(notebook, capsys):
    with serving(small_app(notebook, {"/mirror": Mirror()}, log_level="INFO")) as api:
        from_phone = {"remote_addr": "192.0.2.77"}
        named = {"X-Request-Id": "req-12345"}
        api.get("/mirror", token="alice", headers=named, query_string="token=s3cret", **from_phone)
        api.get("/nowhere/ann@example.com", **from_phone)
        api.post("/mirror", **from_phone)

    written = capsys.readouterr().err
    lines = [json.loads(line) for line in written.splitlines()]
    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("GET", "/mirror", 422),
        ("GET", None, 404),
        ("POST", "/mirror", 200),
    ]
    assert lines[0]["request_id"] == "req-12345"
    assert lines[2]["bytes"] == 2
    assert [line.get("path") for line in lines] == [None, "/nowhere/*", None]
    assert {line["client"] for line in lines} == {"192.0.2.0/24"}
    assert all(re.fullmatch(r"[\d-]{10}T[\d:]{8}\.\d{3}Z", line["at"]) for line in lines)
    assert "s3cret" not in written
    assert "ann@example.com" not in written


def test_unknown_path_is_logged_without_tokens_ids_and_personal_values():
    known = {
        "/wp-login.php": "/wp-login.php",
        "/api/v2/campaigns/": "/api/v2/campaigns/",
        "/favicon.ico": "/favicon.ico",
        "/s/Zm9vYmFyYmF6cXV4Zm9vYmFy/again": "/s/*/again",
        "/reset/0198a3f0-0000-7000-8000-00000000000a": "/reset/*",
        "/users/ann@example.com": "/users/*",
        "/phones/+34600111222": "/phones/*",
        "/codes/482913": "/codes/*",
        "/a b/\x1b[31m/é": "/*/*/*",
        "/" + "x" * 40: "/*",
        "/a/b/c/d/e/f/g/h/i/j": "/a/b/c/d/e/f/g/h/…",
    }

    assert {path: access_log.loggable_path(path) for path in known} == known


def test_network_of_a_client_names_no_household():
    known = {
        "192.0.2.77": "192.0.2.0/24",
        "2001:db8:1:2::7": "2001:db8:1::/48",
        "::ffff:192.0.2.77": "192.0.2.0/24",
        "64:ff9b::192.0.2.77": "192.0.2.0/24",
        "": "unknown",
    }

    assert {address: client_address.network(address) for address in known} == known
