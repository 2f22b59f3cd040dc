"""Tests of the private servers: data after crashes and restarts, and directories with unusual names."""

import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
import redis

from scripts.devstack import sockets
from scripts.devstack.postgres import SUPERUSER, PrivatePostgres
from scripts.devstack.progress import SetupError
from scripts.devstack.redis import PrivateRedis


@pytest.fixture(scope="module", autouse=True)
def socket_fallback():
    """Replace the directory under /tmp for sockets whose own path is unsuitable, and remove it afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="companon-", dir="/tmp"))
    folder.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sockets, "ELSEWHERE", folder)
        yield folder
    shutil.rmtree(folder)


def enterable(folder):
    """Return a directory that other users can't enter, as a checkout under /root.

    If root can't create a user namespace, as in some containers, user postgres gets access.
    """
    if subprocess.run(["unshare", "--user", "true"], capture_output=True, check=False).returncode != 0:
        for parent in [folder, *folder.parents][:-2]:
            parent.chmod(0o711)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Run a durable cluster."""
    made = PrivatePostgres(enterable(tmp_path_factory.mktemp("pg")) / "home")
    made.start()
    yield made
    made.stop()


def query(cluster, statement):
    with closing(psycopg2.connect(cluster.dsn(SUPERUSER, "postgres"))) as db, db, db.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0] if cursor.description else None


def test_postgres_keeps_committed_rows_after_a_crash(cluster):
    query(cluster, "create table kept as select 42 as x")

    cluster.kill()
    cluster.start()

    assert query(cluster, "select x from kept") == 42


def test_postgres_listens_on_socket_only_with_checksums_and_fsync(cluster):
    assert query(cluster, "select current_setting('listen_addresses')") == ""
    assert query(cluster, "select current_setting('data_checksums')") == "on"
    assert query(cluster, "select current_setting('fsync')") == "on"


def test_postgres_on_data_of_running_server_is_refused(cluster):
    with pytest.raises(SetupError, match="runs on"):
        PrivatePostgres(cluster.home).start()

    assert query(cluster, "select 1") == 1


def test_postgres_after_interrupted_initialisation_starts(tmp_path):
    home = enterable(tmp_path) / "home"
    (home / "data.unfinished").mkdir(parents=True)
    (home / "data.unfinished" / "PG_VERSION").write_text("15")
    postgres = PrivatePostgres(home, durable=False)

    postgres.start()

    assert query(postgres, "select 1") == 1
    postgres.stop()


@pytest.mark.parametrize("name", ["x" * 100, "späces, and 100%41"])
def test_redis_in_unsuitable_directory_has_its_socket_under_tmp(tmp_path, name):
    deep = tmp_path / name
    server = PrivateRedis(deep / "redis")

    server.start()

    assert redis.Redis.from_url(server.url).ping()
    server.stop()
    assert not server.socket.is_relative_to(deep)
    sockets.remove(server.socket.parent)
    assert not server.socket.parent.parent.exists()


def test_postgres_in_directory_with_special_characters_starts(tmp_path):
    cluster = PrivatePostgres(enterable(tmp_path) / "späces, and 'quotes' %41" / "pg", durable=False)

    cluster.start()

    assert query(cluster, "select current_setting('data_directory')") == str(cluster.data)
    cluster.stop()
    sockets.remove(cluster.socket_dir)


def test_socket_directory_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sockets, "ELSEWHERE", tmp_path)
    deep = Path("/" + "x" * 120) / "redis" / "socket"
    sockets.directory(deep)
    (made,) = tmp_path.iterdir()
    (made / "socket").rmdir()
    made.rmdir()
    made.symlink_to("/tmp")

    with pytest.raises(SetupError, match="belongs to another user"):
        sockets.directory(deep)


def test_redis_keeps_its_keys_after_a_restart(tmp_path):
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    redis.Redis.from_url(server.url).set("kept", "yes")

    server.restart()

    assert redis.Redis.from_url(server.url).get("kept") == b"yes"
    assert redis.Redis.from_url(server.url_of(5)).get("kept") is None
    server.stop()


def test_redis_with_unknown_locale_starts(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "tlh_QO.UTF-8")
    server = PrivateRedis(tmp_path / "redis", durable=False)

    server.start()

    assert redis.Redis.from_url(server.url).ping()
    server.stop()
