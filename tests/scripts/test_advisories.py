"""Tests of `./scripts/advisories` against a server with the API of OSV."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from scripts.commands.advisories import main as advisories

VULNERABILITY = {
    "id": "GHSA-xxxx-xxxx-xxxx",
    "aliases": ["CVE-2026-1"],
    "summary": "It is open.",
    "details": "It is open.",
    "published": "2026-01-01T00:00:00Z",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "redis", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@pytest.fixture
def osv():
    """Yield the queried packages, the vulnerabilities that the server reports, and its URL."""
    queried, vulnerabilities = [], {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            queried.append(query["package"]["name"])
            body = json.dumps(
                {"vulns": vulnerabilities[queried[-1]]} if queried[-1] in vulnerabilities else {}
            ).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield queried, vulnerabilities, f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()


@pytest.fixture
def printed(monkeypatch):
    lines = []
    monkeypatch.setattr(advisories, "say", lines.append)
    return lines


def test_advisories_query_every_package_and_print_a_vulnerability(osv, printed):
    queried, vulnerabilities, url = osv
    vulnerabilities["redis"] = [VULNERABILITY]

    assert advisories.main(["--osv-url", url]) == advisories.FOUND

    assert {"falcon", "redis", "pytest", "uv"} <= set(queried)
    assert [line for line in printed if "redis" in line and "CVE-2026-1" in line and "99.1" in line]


def test_advisories_without_vulnerability_return_0(printed):
    report = json.dumps({"dependencies": [{"name": "redis", "version": "8.1.0", "vulns": []}], "fixes": []})

    assert advisories.judge(report, "No known vulnerabilities found", strict=True) == 0
    assert printed == ["1 packages, 0 known vulnerabilities"]


@pytest.mark.parametrize(
    "report", ["", "not JSON", '{"dependencies": [{"name": "redis", "skip_reason": "not found"}], "fixes": []}']
)
def test_advisories_without_answer_fail_in_strict_mode_only(printed, report):
    assert advisories.judge(report, "Traceback\nno route to host", strict=False) == 0
    assert advisories.judge(report, "", strict=True) == advisories.UNKNOWN
    assert printed == [
        "✗ The database can't be queried: no route to host",
        "✗ The database can't be queried: no answer",
    ]


def test_advisories_of_server_that_drips_are_unknown_after_time_limit(hostile_server, printed, monkeypatch):
    monkeypatch.setattr(advisories, "TIMEOUT", 0.5)
    server = hostile_server([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"], b" ")

    unknown = advisories.main(["--strict", "--osv-url", f"http://127.0.0.1:{server.port}/"])

    assert unknown == advisories.UNKNOWN
    assert "no answer within" in printed[0]
