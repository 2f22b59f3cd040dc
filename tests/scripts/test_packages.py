"""Tests of the operating system's packages: missing ones are named, and temporary files are removed."""

import os
import stat

import pytest

from scripts.devstack import packages
from scripts.devstack.progress import SetupError


@pytest.fixture
def bare(monkeypatch):
    """Simulate a machine without any package."""
    monkeypatch.setattr(packages, "postgres", lambda: None)
    monkeypatch.setattr(packages, "redis_server", lambda: None)
    monkeypatch.setattr(packages, "python", lambda: None)
    monkeypatch.setattr(packages, "_postgres_to_install", lambda: 15)


def test_packages_of_this_machine_are_complete():
    assert packages.missing(environment=True) == []
    assert packages.postgres().version >= 15


def test_missing_packages_are_named_to_user_without_root(bare, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(SetupError) as refused:
        packages.ensure(environment=True)

    for name in ("postgresql-15", "postgresql-15-postgis-3", "redis-server", "python3-venv"):
        assert name in str(refused.value)


def test_missing_pgbouncer_is_named_to_user_without_root(monkeypatch):
    monkeypatch.setattr(packages, "pgbouncer", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(SetupError, match="pgbouncer"):
        packages.ensure_pgbouncer()


def test_missing_browser_packages_are_named(monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda *_args, **_rest: None)

    with pytest.raises(SetupError, match="chromium chromium-driver"):
        packages.ensure_browser()


def test_pgbouncer_outside_of_path_is_found_in_usr_sbin(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert packages.pgbouncer() == "/usr/sbin/pgbouncer"


def test_missing_packages_without_apt_are_named(bare, monkeypatch):
    monkeypatch.setattr(packages.shutil, "which", lambda *_args, **_rest: None)

    with pytest.raises(SetupError, match=r"postgresql-15 postgresql-15-postgis-3 redis-server$"):
        packages.ensure(environment=False)


def test_temporary_file_is_removed_with_its_new_directories(tmp_path):
    path = tmp_path / "made" / "too" / "policy"

    with packages.temporary(path, "text", mode=0o755):
        assert path.read_text() == "text"
        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    assert list(tmp_path.iterdir()) == []


def test_temporary_file_after_interrupt_restores_existing_file(tmp_path):
    path = tmp_path / "policy"
    path.write_text("theirs")
    path.chmod(0o700)

    def interrupted():
        with packages.temporary(path, "ours", mode=0o755):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert path.read_text() == "theirs"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("theirs", [None, "theirs"])
def test_temporary_file_after_killed_run_restores_original_file(tmp_path, theirs):
    path = tmp_path / "policy"
    if theirs:
        path.write_text(theirs)
    killed = packages.temporary(path, "ours", mode=0o755)
    killed.__enter__()

    with packages.temporary(path, "ours", mode=0o755):
        assert path.read_text() == "ours"

    assert (path.read_text() if path.exists() else None) == theirs
    killed.gen.close()
