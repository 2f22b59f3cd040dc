"""`./scripts/advisories`: check the packages of the lock files for vulnerabilities in the OSV database."""

import argparse
import json
import subprocess
from typing import Any

from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.progress import say

LOCKS = ("dev", "uv")
"""Lock files that together contain every package: the development lock contains the runtime lock."""
OSV = "https://api.osv.dev/v1/query"
TIMEOUT = 300.0
"""Seconds until the queries of all packages must have finished."""
FOUND, UNKNOWN = 1, 2
"""Exit statuses: a vulnerability was found; the database could not be queried."""


def main(argv: list[str]) -> int:
    """Query the database and print vulnerabilities. Without a connection fail only with `--strict`."""
    parser = argparse.ArgumentParser("./scripts/advisories", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="also fail if the database can't be queried")
    parser.add_argument("--osv-url", default=OSV, help="another server with OSV's API")
    asked = parser.parse_args(argv)
    files = [word for lock in LOCKS for word in ("-r", f"requirements/{lock}.txt")]
    options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
    command = [str(VENV / "bin" / "pip-audit"), *files, *options, "-s", "osv", "--osv-url", asked.osv_url]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return judge("", f"no answer within {TIMEOUT:.0f} s", strict=asked.strict)
    return judge(done.stdout, done.stderr, strict=asked.strict)


def judge(report: str, complaint: str, *, strict: bool) -> int:
    """Print the findings or errors of pip-audit. Return the exit status."""
    packages = _packages(report)
    if not packages:
        say(f"✗ The database can't be queried: {(complaint.strip().splitlines() or ['no answer'])[-1]}")
        return UNKNOWN if strict else 0
    holes = {_described(package, hole) for package in packages for hole in package["vulns"]}
    for hole in sorted(holes):
        say(f"✗ {hole}")
    say(f"{len({package['name'] for package in packages})} packages, {len(holes)} known vulnerabilities")
    return FOUND if holes else 0


def _packages(report: str) -> list[dict[str, Any]]:
    """Return the checked packages; none if the report is not valid JSON."""
    try:
        found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        return []
    return [package for package in found if "vulns" in package]


def _described(package: dict[str, Any], hole: dict[str, Any]) -> str:
    fixed = ", ".join(hole["fix_versions"]) or "no version"
    return f"{package['name']} {package['version']}: {hole['id']}, fixed in {fixed}"
