"""Test the delivery of files: headers, ranges, caches, and paths that lead elsewhere."""

import asyncio

import pytest

import web.files
from models.assets.storage.folder import Incoming
from tests.fixtures.assets import send
from tests.support import media
from tests.web.v1.test_assets import path_of
from web.http.problems import TooLarge

PNG = media.image("PNG", (64, 64))


@pytest.fixture
def shown(member, upload):
    """Return the path of a public image."""
    return path_of(upload(member("Campaign Manager"), PNG)["url"])


def test_public_file_never_changes_and_never_runs(client, shown):
    answer = client.get(shown)

    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_public_file_is_sent_in_parts_and_not_twice(client, shown):
    whole = client.get(shown)

    part = client.get(shown, headers={"Range": "bytes=4-11"})
    end = client.get(shown, headers={"Range": "bytes=-8"})
    beyond = client.get(shown, headers={"Range": f"bytes={len(whole.content)}-"})
    known = client.get(shown, headers={"If-None-Match": whole.headers["etag"]})
    head = client.request("HEAD", shown)

    size = len(whole.content)
    assert (part.status_code, part.content) == (206, whole.content[4:12])
    assert part.headers["content-range"] == f"bytes 4-11/{size}"
    assert (end.status_code, end.content) == (206, whole.content[-8:])
    assert beyond.status_code == 416
    assert (known.status_code, known.content) == (304, b"")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(size))


def test_path_that_leads_elsewhere_is_not_found(client, shown, files):
    secret = files.root / "private" / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("secret")
    name = shown.rpartition("/")[2]

    paths = [
        "/media/../private/secret",
        "/media/..%2fprivate%2fsecret",
        "/media/%2e%2e/private/secret",
        f"/media/{name}/../../private/secret",
        f"/media/{name}%00",
        f"/media/{name.replace('.png', '.html')}",
        f"/media/{name.upper()}",
        "/media/",
        "/files/private/secret",
        "/files/uploads/secret",
        "/files/private/..%2fmedia",
    ]

    assert {
        path: client.get(path).status_code for path in paths if client.get(path).status_code not in (404, 405)
    } == {}
    secret.unlink()


def test_upload_with_wrong_type_or_size_or_without_ticket_is_refused(client, member, announce):
    made = announce(member("Campaign Manager"), PNG)["upload"]
    path = path_of(made["url"])

    wrong = client.put(path, body=PNG, headers={"Content-Type": "text/html"})
    short = client.put(path, body=PNG[:-1], headers={"Content-Type": "image/png"})
    bare = client.put(path.partition("?")[0], body=PNG, headers=made["headers"])

    assert (wrong.status_code, wrong.json["code"]) == (415, "unsupported_media_type")
    assert "application/json" not in wrong.text
    assert (short.status_code, short.json["code"]) == (400, "bad_request")
    assert (bare.status_code, bare.json["code"]) == (404, "link_invalid")
    assert send(client, made, PNG) == 201
    assert client.put(path, body=PNG, headers=made["headers"]).json["code"] == "already_uploaded"


def test_media_of_a_bucket_are_redirected(client, monkeypatch):
    class Bucket:
        """A storage elsewhere."""

        def public_url(self, name):
            """Return the URL of a file."""
            return f"https://bucket.example/{name}"

    monkeypatch.setattr(web.files, "storage", Bucket)
    name = "01941f29-7c00-7a3b-8d5e-3f1b2c4d5e6f-9f86d081884c7d65.png"

    answer = client.get(f"/media/{name}")

    assert (answer.status_code, answer.headers["location"]) == (307, f"https://bucket.example/{name}")
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert client.get("/files/private/x").status_code == 404
    assert client.get("/media/another.png").status_code == 404


def test_upload_in_chunks_is_bounded_by_the_signed_size(tmp_path):
    class Sent:
        """A request whose body comes in three parts, without a length."""

        left = 3

        async def _receive(self):
            self.left -= 1
            return {"type": "http.request", "body": b"12345", "more_body": self.left > 0}

    with Incoming(tmp_path / "file") as incoming, pytest.raises(TooLarge):
        asyncio.run(web.files._receive(Sent(), incoming, 12))
    assert list(tmp_path.iterdir()) == []
