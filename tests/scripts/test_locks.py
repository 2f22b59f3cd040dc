"""Tests of the lock files: every package is pinned with hashes, and no index is named."""

import configparser
import json
import re

import pytest

from scripts.devstack.environment import ROOT

REQUIREMENT = re.compile(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*\])?==(\S+)(?: ;.*)? \\$", re.MULTILINE)


def pinned(lock):
    return dict(REQUIREMENT.findall((ROOT / "requirements" / f"{lock}.txt").read_text()))


@pytest.mark.parametrize("lock", ["runtime", "dev", "uv"])
def test_every_requirement_has_a_version_and_hashes(lock):
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]

    assert blocks
    assert [block for block in blocks if not (REQUIREMENT.match(block) and "--hash=sha256:" in block)] == []


@pytest.mark.parametrize("lock", ["runtime", "dev", "uv"])
def test_lock_names_no_package_index(lock):
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()

    assert re.findall(r"://|--index|--extra-index|--find-links|^-[if] ", text, re.MULTILINE) == []


def test_every_dependency_is_in_its_lock():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needs = {
        "runtime": setup["options"]["install_requires"],
        "dev": setup["options"]["install_requires"] + setup["options.extras_require"]["dev"],
    }

    for lock, text in needs.items():
        named = {re.split(r"[<>=\[; ]", line.strip())[0].lower() for line in text.splitlines() if line.strip()}
        names = {name.replace(".", "-") for name in named}
        assert sorted(name for name in names if not name.startswith("#") and name not in pinned(lock)) == []


def test_development_has_the_same_versions_as_runtime():
    runtime, dev = pinned("runtime"), pinned("dev")

    assert {name: version for name, version in runtime.items() if dev.get(name) != version} == {}


def test_every_npm_package_has_an_integrity_hash_and_no_address():
    folder = ROOT / "tests" / "clients"
    wanted = json.loads((folder / "package.json").read_text())["devDependencies"]
    packages = json.loads((folder / "package-lock.json").read_text())["packages"]

    assert packages.pop("")["devDependencies"] == wanted
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert [name for name, package in packages.items() if "resolved" in package] == []


@pytest.mark.parametrize("package", ["flask-openapi", "playwright"])
def test_lock_leaves_out_what_needs_none_of_our_code(package):
    without = (ROOT / "requirements" / "without.txt").read_text()

    assert re.search(rf"^{package} ;", without, re.MULTILINE)
    assert [lock for lock in ("runtime", "dev") if package in pinned(lock)] == []
    assert "flask" not in pinned("runtime")
