"""Conformance of the storages: a local directory behind the application, and a bucket that verifies signatures."""

import hashlib
import http.client
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import boto3
import pytest
import time_machine

from models.assets.storage import by_url, tickets
from models.assets.storage.base import FOR_EVER, NOT_STORED, TooBig
from models.assets.storage.by_url import storage_at
from models.core.database import now
from models.core.signed_links import LinkInvalid
from settings import settings
from tests.support import s3

DATA = b"\x89PNG" + bytes(range(256)) * 8
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.xdist_group("models/assets/test_storages")


class OverTheApplication:
    """Requests to the application, which serves the files of the directory."""

    def __init__(self, client):
        self._client = client

    def send(self, method, url, body=None, headers=None):
        """Send a request and return status, headers in lower case, and body."""
        parts = urlsplit(url)
        assert f"{parts.scheme}://{parts.netloc}" == settings.public_url
        answer = self._client.request(method, f"{parts.path}?{parts.query}", body=body, headers=headers)
        return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.content

    @contextmanager
    def later(self, period):
        """Move the clock of the server within the block."""
        with time_machine.travel(now() + period, tick=True):
            yield


class OverHttp:
    """Requests to the S3 server."""

    def __init__(self, server):
        self._server = server

    def send(self, method, url, body=None, headers=None):
        """Send a request and return status, headers in lower case, and body."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content

    @contextmanager
    def later(self, period):
        """Move the clock of the server within the block."""
        real = self._server.now
        self._server.now = lambda: real() + period
        yield
        self._server.now = real


BUCKET = f"files-{uuid4().hex}"
"""Name of its own: all servers of a process have the same buckets."""


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch, s3.serving() as server:
        patch.setenv("AWS_ACCESS_KEY_ID", s3.KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", s3.SECRET)
        patch.setattr(boto3, "DEFAULT_SESSION", None)  # It keeps the credentials of an earlier test.
        boto3.client("s3", endpoint_url=server.endpoint, region_name=s3.REGION).create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": s3.REGION}
        )
        yield server


@pytest.fixture(scope="module")
def bucket(server):
    return storage_at(f"s3://{BUCKET}?endpoint={server.endpoint}&region={s3.REGION}")


@pytest.fixture(params=["folder", "bucket"])
def place(request):
    """Return a storage and the client that reaches its URLs."""
    if request.param == "folder":
        return by_url.storage(), OverTheApplication(request.getfixturevalue("_client"))
    return request.getfixturevalue("bucket"), OverHttp(request.getfixturevalue("server"))


@pytest.fixture
def signed(place):
    """Return the storage, its client, the key of a new upload, and its signed request."""
    storage, http = place
    key = f"uploads/{uuid4()}"
    upload = storage.sign_upload(key, content_type="image/png", size=len(DATA), expires_at=now() + HOUR)
    return storage, http, key, upload


def fetched(storage, key, path, max_bytes=10_000):
    storage.fetch(key, path, max_bytes=max_bytes)
    return path.read_bytes()


def test_signed_upload_stores_the_file(signed, tmp_path):
    storage, http, key, upload = signed

    status, _, _ = http.send(upload.method, upload.url, DATA, dict(upload.headers))

    assert status in (200, 201)
    assert fetched(storage, key, tmp_path / "got") == DATA
    assert [found.size for found in storage.list("uploads", key.partition("/")[2])] == [len(DATA)]


def test_upload_that_differs_from_its_signature_is_refused(signed, tmp_path):
    storage, http, key, upload = signed
    headers = dict(upload.headers)
    foreign = f"uploads/{uuid4()}"
    size = str(len(DATA))
    changes = {
        "method": ("POST", upload.url, DATA, headers),
        "key": ("PUT", upload.url.replace(key, foreign), DATA, headers),
        "area": ("PUT", upload.url.replace("uploads/", "media/"), DATA, headers),
        "type": ("PUT", upload.url, DATA, {**headers, "Content-Type": "text/html"}),
        "longer": ("PUT", upload.url, DATA + b"x", {**headers, "Content-Length": str(len(DATA) + 1)}),
        "shorter": ("PUT", upload.url, DATA[:-1], {**headers, "Content-Length": str(len(DATA) - 1)}),
        "signed size": ("PUT", upload.url.replace(size, "9999999"), DATA, headers),
        "signature": ("PUT", upload.url[:-1] + ("A" if upload.url[-1] != "A" else "B"), DATA, headers),
        "without": ("PUT", upload.url.partition("?")[0], DATA, headers),
    }

    for name, (method, url, body, sent) in changes.items():
        if name == "signed size" and url == upload.url:
            continue  # the bucket signs the size as a header
        status, _, _ = http.send(method, url, body, sent)
        assert 400 <= status < 500, name

    for found in (key, foreign):
        with pytest.raises(FileNotFoundError):
            storage.fetch(found, tmp_path / "none", max_bytes=10_000)
    assert list(storage.list("uploads", key.partition("/")[2])) == []


def test_upload_after_its_expiry_is_refused(signed, tmp_path):
    storage, http, key, upload = signed

    with http.later(HOUR + timedelta(seconds=1)):
        status, _, _ = http.send("PUT", upload.url, DATA, dict(upload.headers))

    assert status in (403, 404)
    with pytest.raises(FileNotFoundError):
        storage.fetch(key, tmp_path / "none", max_bytes=10_000)


def test_second_upload_to_one_url_is_refused(signed, tmp_path):
    storage, http, key, upload = signed
    other = bytes(len(DATA))

    statuses = [http.send("PUT", upload.url, body, dict(upload.headers))[0] for body in (DATA, other)]

    unconditional = {name: text for name, text in upload.headers.items() if name != "If-None-Match"}
    statuses.append(http.send("PUT", upload.url, other, unconditional)[0])

    assert statuses[0] in (200, 201)
    assert set(statuses[1:]) <= {403, 409, 412}
    assert fetched(storage, key, tmp_path / "got") == DATA


def test_private_file_is_downloaded_by_a_signed_url_only(place, tmp_path):
    storage, http = place
    key, source = f"private/{uuid4()}", tmp_path / "source"
    source.write_bytes(b"name\nAna\n")
    storage.store(key, source, content_type="text/csv", cache_control=NOT_STORED)
    name = 'clientes "ñ".csv'
    url = storage.sign_download(key, filename=name, content_type="text/csv", expires_at=now() + HOUR)

    status, headers, body = http.send("GET", url)
    with http.later(HOUR + timedelta(seconds=1)):
        late = http.send("GET", url)[0]
    bare = http.send("GET", url.partition("?")[0])[0]
    foreign = http.send("GET", url.replace(key, f"private/{uuid4()}"))[0]

    assert (status, body) == (200, b"name\nAna\n")
    assert headers["cache-control"] == "no-store"
    assert headers["content-type"].startswith("text/csv")
    assert headers["content-disposition"] == (
        "attachment; filename=\"clientes ___.csv\"; filename*=UTF-8''clientes%20%22%C3%B1%22.csv"
    )
    assert {late, bare, foreign} <= {403, 404}


def test_stored_file_is_replaced_listed_and_deleted(place, tmp_path):
    storage, _ = place
    prefix, source = str(uuid4()), tmp_path / "source"
    for number, text in enumerate([b"one", b"two", b"three"]):
        source.write_bytes(text)
        storage.store(f"media/{prefix}-{number % 2}.png", source, content_type="image/png", cache_control=FOR_EVER)

    listed = [(found.key, found.size) for found in storage.list("media", prefix)]
    storage.delete(f"media/{prefix}-0.png")
    storage.delete(f"media/{prefix}-0.png")

    assert listed == [(f"media/{prefix}-0.png", 5), (f"media/{prefix}-1.png", 3)]
    assert [found.key for found in storage.list("media", prefix)] == [f"media/{prefix}-1.png"]
    assert now() - next(storage.list("media", prefix)).modified_at < timedelta(minutes=5)


def test_file_over_the_expected_size_is_not_fetched(place, tmp_path):
    storage, _ = place
    key, source = f"uploads/{uuid4()}", tmp_path / "source"
    source.write_bytes(DATA)
    storage.store(key, source, content_type="image/png", cache_control=NOT_STORED)

    assert storage.fetch(key, tmp_path / "got", max_bytes=len(DATA)) == len(DATA)
    with pytest.raises(TooBig):
        storage.fetch(key, tmp_path / "got", max_bytes=len(DATA) - 1)


def test_key_that_leads_out_of_its_area_is_refused(place, tmp_path):
    storage, _ = place

    for key in (
        "uploads/../media/x",
        "../uploads/x",
        "/etc/passwd",
        "uploads/",
        "uploads/.x",
        "uploads/a/b",
        "other/x",
    ):
        with pytest.raises(ValueError, match="is not a key"):
            storage.fetch(key, tmp_path / "got", max_bytes=1)
        with pytest.raises(ValueError, match="is not a key"):
            storage.delete(key)


def test_public_file_of_a_bucket_has_a_signed_url(bucket, server, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(DATA)
    bucket.store("media/a.png", source, content_type="image/png", cache_control=FOR_EVER)
    http = OverHttp(server)

    status, headers, body = http.send("GET", bucket.public_url("a.png"))

    assert (status, hashlib.sha256(body).digest()) == (200, hashlib.sha256(DATA).digest())
    assert (headers["content-type"], headers["cache-control"]) == ("image/png", FOR_EVER)


def test_failures_of_a_bucket_are_os_errors(server, monkeypatch, tmp_path):
    unreachable = storage_at("s3://files?endpoint=http://127.0.0.1:9&region=x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused = storage_at(f"s3://{BUCKET}?endpoint={server.endpoint}&region={s3.REGION}")

    for storage in (unreachable, refused):
        with pytest.raises(OSError, match="files"):
            storage.fetch("media/a.png", tmp_path / "got", max_bytes=10)


def test_ticket_is_valid_for_one_method_and_key():
    key, until = f"uploads/{uuid4()}", now() + HOUR
    query = dict(parse_qsl(tickets.sign("PUT", key, until, {"size": "1"})))

    assert tickets.verify("PUT", key, query) == {"size": "1"}
    for method, other, changed in (("GET", key, query), ("PUT", f"{key}0", query), ("PUT", key, query | {"size": "2"})):
        with pytest.raises(LinkInvalid):
            tickets.verify(method, other, changed)


def test_url_of_another_kind_is_refused():
    for url in ("ftp://host/x", "s3:", "s3://files?acl=public"):
        with pytest.raises(ValueError, match=r"STORAGE_URL|unknown options"):
            storage_at(url)
