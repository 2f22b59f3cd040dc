"""`./scripts/advisories`: whether any package of the lock files has a known hole, as the OSV database says."""

import argparse
import json
import subprocess
from typing import Any

from scripts.devstack.environment import ROOT, VENV
from scripts.devstack.progress import say

LOCKS = ("dev", "uv")
"""Whose packages are all: what runs is among what is developed with."""
OSV = "https://api.osv.dev/v1/query"
TIMEOUT = 300.0
"""Seconds that asking about all packages may take."""
FOUND, UNKNOWN = 1, 2
"""Exit statuses: there is a hole; nobody could be asked."""


def main(argv: list[str]) -> int:
    """Ask and say what is known. Offline it only says so, unless it is to be `--strict`."""
    parser = argparse.ArgumentParser("./scripts/advisories", description=__doc__)
    parser.add_argument("--strict", action="store_true", help="fail when the database can't be asked, too")
    parser.add_argument("--osv-url", default=OSV, help="another server that answers as OSV's does")
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
    """Say what pip-audit has found, or of what it has complained; the exit status."""
    packages = _packages(report)
    if not packages:
        say(f"✗ Advisories can't be had: {(complaint.strip().splitlines() or ['no answer'])[-1]}")
        return UNKNOWN if strict else 0
    holes = {_described(package, hole) for package in packages for hole in package["vulns"]}
    for hole in sorted(holes):
        say(f"✗ {hole}")
    say(f"{len({package['name'] for package in packages})} packages, {len(holes)} known holes")
    return FOUND if holes else 0


def _packages(report: str) -> list[dict[str, Any]]:
    """Those that something is known of; none where the report is none."""
    try:
        found: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        return []
    return [package for package in found if "vulns" in package]


def _described(package: dict[str, Any], hole: dict[str, Any]) -> str:
    fixed = ", ".join(hole["fix_versions"]) or "no version"
    return f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}"
