"""Tests of checkpoint stores: a failing store is retried, and no checkpoint is overwritten."""

import logging
import os
import stat
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import boto3
import pytest
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer

from jobs.audit import maintenance
from jobs.audit.stores import base
from jobs.audit.stores.base import CheckpointConflict
from jobs.audit.stores.by_url import store_at
from models.audit import checkpoints, trail
from models.core import context
from models.core.database import transaction
from models.jobs.ledger import enqueue
from scripts.commands.audit import sources
from scripts.commands.audit.verification import Verification
from tests.fixtures.audit import seal, writer
from tests.support.authority import Authority

NAME = "checkpoint-0000000001.json"
_buckets = count(1)


@dataclass
class Kept:
    """Documents of a server. Each function in `overrides` handles one request in place of the normal answer."""

    documents: dict[str, bytes] = field(default_factory=dict)
    overrides: list[Callable[[BaseHTTPRequestHandler], bool]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


def answer(handler, status, body=b""):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)
    return True


def handler_of(kept):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            kept.asked.append("GET")
            if not (kept.overrides and kept.overrides.pop(0)(self)):
                found = kept.documents.get(self.path)
                answer(self, 404 if found is None else 200, found or b"")

        def do_PUT(self):
            kept.asked.append("PUT")
            sent = self.rfile.read(int(self.headers["Content-Length"]))
            taken = self.headers["If-None-Match"] == "*" and self.path in kept.documents
            if not (kept.overrides and kept.overrides.pop(0)(self)):
                kept.documents = kept.documents if taken else kept.documents | {self.path: sent}
                answer(self, 412 if taken else 201)

        def log_message(self, *args):
            """Log nothing."""

    return Handler


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    authority = Authority(tmp_path_factory.mktemp("authority"), "ours")
    return authority.root, authority.certify("localhost")


@pytest.fixture
def server(certificate, monkeypatch):
    """Start an HTTPS server. Return its documents and its URL."""
    root, signed = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    kept = Kept()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(kept))
    http.socket = signed.context().wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield kept, f"https://localhost:{http.server_port}/audit"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def checkpoint(db_clean, monkeypatch):
    """Return a function that creates a checkpoint and stores it at a URL, with up to five attempts.

    Returns the number of attempts.
    """
    monkeypatch.setattr(checkpoints, "MIN_INTERVAL", checkpoints.MIN_INTERVAL * 0)
    monkeypatch.setattr(checkpoints, "create", partial(checkpoints.create, min_age=checkpoints.MIN_INTERVAL))

    def run(url):
        for attempt in range(1, 6):
            with suppress(OSError):
                maintenance.store_checkpoint(url)
                return attempt
        return attempt

    return run


def fails(handler):
    return answer(handler, 503)


def disconnect(handler):
    handler.close_connection = True
    return True


@pytest.mark.parametrize("override", [fails, disconnect])
def test_store_on_a_failing_server_is_retried(server, checkpoint, override):
    kept, url = server
    kept.overrides = [override, lambda _: False, override]  # the first read fails, and then the write

    assert checkpoint(url) == 3

    documents = list(kept.documents.values())
    assert sorted(kept.documents) == [f"/audit/{checkpoints.name_of(number + 1)}" for number in range(len(documents))]
    with transaction(context.for_system_job()):
        assert checkpoints.unstored() == []


def test_store_on_a_silent_server_times_out(server, checkpoint, monkeypatch):
    kept, url = server
    over = threading.Event()
    monkeypatch.setattr(base, "TIMEOUT", 0.5)

    def waits(handler):
        over.wait(60)
        return True

    kept.overrides = [waits]

    attempts = checkpoint(url)
    over.set()

    assert attempts >= 2
    assert len(kept.documents) >= 1


def test_overdue_checkpoint_is_logged_as_an_error(server, checkpoint, drain, monkeypatch, caplog):
    kept, url = server
    with transaction(writer(None)):
        trail.record("test.act")
    seal(None)
    kept.overrides = [fails] * 1000
    checkpoint(url)
    monkeypatch.setattr(checkpoints, "OVERDUE", -1.0)
    with transaction(context.for_system_job()):
        enqueue("audit.sweep")

    with caplog.at_level(logging.ERROR, "jobs.audit.actors"):
        drain()

    assert "no checkpoint of the audit trail has been stored" in caplog.text
    assert kept.documents == {}


@pytest.mark.parametrize("is_deaf", [False, True], ids=["with conditional writes", "without conditional writes"])
def test_store_with_another_checkpoint_keeps_it(server, is_deaf):
    kept, url = server
    store = store_at(url)
    store.put(1, '{"a":1}')
    store.put(1, '{"a":1}')
    assert kept.asked == ["GET", "PUT", "GET", "GET"]
    if is_deaf:
        kept.overrides = [lambda _: False]

    with pytest.raises(CheckpointConflict):
        store.put(1, '{"a":2}')

    assert kept.documents == {f"/audit/{NAME}": b'{"a":1}\n'}
    assert list(store.numbers()) == [1]


def test_one_of_two_concurrent_writers_gets_a_conflict(server):
    kept, url = server

    def store_another_first(handler):
        kept.documents[f"/audit/{NAME}"] = b"theirs\n"
        return answer(handler, 404)

    kept.overrides = [store_another_first]

    with pytest.raises(CheckpointConflict):
        store_at(url).put(1, "ours")

    assert kept.documents == {f"/audit/{NAME}": b"theirs\n"}


def test_redirect_of_a_store_is_not_followed(server):
    kept, url = server
    kept.overrides = [lambda handler: answer(handler, 307)]

    with pytest.raises(OSError, match="answers 307"):
        store_at(url).put(1, "a document")

    assert kept.documents == {}


def accepts(handler):
    return answer(handler, 202)


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:  # until the client closes the connection
        handler.wfile.write(b"x" * 65_536)


def test_store_that_keeps_nothing_fails(server, checkpoint):
    kept, url = server
    kept.overrides = [lambda _: False, accepts] * 20

    checkpoint(url)

    assert kept.documents == {}
    with transaction(context.for_system_job()):
        assert checkpoints.unstored() != []


def test_store_that_keeps_another_document_fails(server):
    kept, url = server

    def keeps_another(handler):
        kept.documents[f"/audit/{NAME}"] = b"another\n"
        return answer(handler, 201)

    kept.overrides = [lambda _: False, keeps_another]

    with pytest.raises(CheckpointConflict):
        store_at(url).put(1, "ours")


def test_answer_above_size_limit_is_not_read(server, monkeypatch):
    kept, url = server
    monkeypatch.setattr(base, "MAX_BYTES", 10_000)
    kept.overrides = [endless]

    with pytest.raises(OSError, match=r"longer|more than"):
        store_at(url).get(1)


def test_verification_of_endless_list_ends(server):
    kept, url = server
    kept.overrides = [lambda handler: answer(handler, 200, b"{}\n")] * 1_000
    verification = Verification(None)

    sources.check_checkpoints(verification, store_at(url), {})

    assert len(verification.other) == sources.MAX_FAULTS + 1
    assert len(kept.asked) < 100


def linked(path, folder):
    target = folder / "elsewhere"
    target.touch()
    path.symlink_to(target)
    return target


def hard_linked(path, folder):
    target = folder / "elsewhere"
    target.touch()
    path.hardlink_to(target)
    return target


@pytest.mark.parametrize(
    "obstacle",
    [
        linked,
        hard_linked,
        lambda path, folder: path.symlink_to(folder / "dangling"),
        lambda path, _: os.mkfifo(path),
        lambda path, _: path.mkdir(),
    ],
    ids=["link", "hard link", "dangling link", "pipe", "folder"],
)
def test_folder_refuses_files_that_are_not_regular(tmp_path, obstacle):
    folder = tmp_path / "store"
    folder.mkdir()
    target = obstacle(folder / NAME, tmp_path)

    with pytest.raises(OSError, match=r"not a regular file|second hard link"):
        store_at(f"file://{folder}").put(1, "ours")

    assert target is None or target.read_bytes() == b""
    assert not (tmp_path / "dangling").exists()
    if target is None:
        with pytest.raises(OSError, match="not a regular file"):
            store_at(f"file://{folder}").get(1)


def test_folder_is_readable_by_its_owner_only(tmp_path):
    store_at(f"file://{tmp_path / 'store'}").put(1, "ours")

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "store", tmp_path / "store" / NAME)]
    assert modes == [0o700, 0o400]


def test_folder_completes_a_partly_written_file(tmp_path):
    (tmp_path / NAME).write_bytes(b"ou")

    store_at(f"file://{tmp_path}").put(1, "ours")

    assert (tmp_path / NAME).read_bytes() == b"ours\n"
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o400


VERSION = b"<Version><Key>x</Key><VersionId>v</VersionId><IsLatest>true</IsLatest></Version>"
PAGE = b"<ListVersionsResult><IsTruncated>%s</IsTruncated>%s</ListVersionsResult>"


def page(content):
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"2710\r\n" + b"x" * 10_000 + b"\r\n"] * 900],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n<x>"],
        [page(PAGE % (b"true", b"<NextKeyMarker>a</NextKeyMarker>" + VERSION))],
    ],
    ids=["too long", "cut off", "pages without end"],
)
def test_bucket_of_hostile_server_fails(client, hostile_server, parts):
    with pytest.raises(OSError, match=r"."):
        bucket_at(hostile_server(parts)).numbers()


def test_bucket_of_server_that_drips_fails_at_deadline(client, hostile_server, monkeypatch):
    monkeypatch.setattr(base, "TIMEOUT", 0.2)
    server = hostile_server([b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9000\r\n\r\n"], b"x")

    with pytest.raises(OSError, match=r"too long|timed out"):
        bucket_at(server).get(1)


def bucket_at(server):
    return store_at(f"s3://bucket?endpoint=http://127.0.0.1:{server.port}&region=us-east-1")


@pytest.fixture(scope="module")
def s3():
    """Start a server with the protocol of S3. Return its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def client(s3, monkeypatch):
    """Return a client with the credentials of the bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with closing(boto3.client("s3", endpoint_url=s3, region_name="us-east-1")) as client:
        yield client


@pytest.fixture
def bucket(client, s3):
    """Return a function that returns a store in a new bucket with Object Lock, and the name of the bucket."""
    name = f"audit-{next(_buckets)}"
    client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return store_at(f"s3://{name}/companon?endpoint={s3}&region=us-east-1&lock_days=30"), name


KEY = f"companon/{NAME}"


def test_bucket_stores_a_checkpoint_once(bucket):
    store, _ = bucket
    assert store.get(1) is None
    store.put(2, "two")
    store.put(1, "one")
    store.put(1, "one")

    with pytest.raises(CheckpointConflict):
        store.put(1, "another")

    assert (store.get(1), list(store.numbers())) == ("one", [1, 2])


def test_one_of_two_concurrent_writers_to_a_bucket_gets_a_conflict(bucket, client, monkeypatch):
    store, name = bucket
    client.put_object(Bucket=name, Key=KEY, Body=b"theirs\n")
    get, answers = store.get, [None]
    monkeypatch.setattr(store, "get", lambda number: answers.pop() if answers else get(number))

    with pytest.raises(CheckpointConflict):
        store.put(1, "ours")

    assert store.get(1) == "theirs"


def test_overwritten_or_deleted_object_keeps_its_first_version(bucket, client):
    store, name = bucket
    store.put(1, "one")
    (version,) = client.list_object_versions(Bucket=name)["Versions"]
    assert client.head_object(Bucket=name, Key=KEY)["ObjectLockMode"] == "COMPLIANCE"

    client.put_object(Bucket=name, Key=KEY, Body=b"forged\n")
    client.delete_object(Bucket=name, Key=KEY)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.delete_object(Bucket=name, Key=KEY, VersionId=version["VersionId"])

    assert (store.get(1), list(store.numbers())) == ("one", [1])


def test_checkpoint_without_a_bucket_is_stored_later(bucket, client, checkpoint, s3):
    store, name = bucket
    missing = f"s3://missing-{name}?endpoint={s3}&region=us-east-1"
    checkpoint(missing)
    assert list(store.numbers()) == []

    checkpoint(f"s3://{name}/companon?endpoint={s3}&region=us-east-1")

    assert len(list(store.numbers())) >= 2
    said = checkpoints.verify_document(store.get(1), checkpoints.public_keys(checkpoints.public_key_set()))
    assert said["number"] == 1


@pytest.mark.parametrize("change", ["no credentials", "no server", "no such bucket"])
def test_unusable_bucket_fails(bucket, s3, monkeypatch, change, tmp_path):
    if change == "no credentials":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    endpoint = "http://127.0.0.1:1" if change == "no server" else s3
    name = "missing" if change == "no such bucket" else bucket[1]
    store = store_at(f"s3://{name}?endpoint={endpoint}&region=us-east-1")

    with pytest.raises(OSError, match=r"."):
        store.put(1, "one")


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://bucket?lock=1", "ftp://host/x"])
def test_url_of_no_store_is_refused(url):
    with pytest.raises(ValueError, match=r"bucket|store"):
        store_at(url)
