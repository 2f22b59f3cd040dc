"""Test the endpoints of assets: announcement, completion, check, list, deletion and limits."""

import hashlib
import io
from urllib.parse import urlsplit

import pytest
from PIL import Image

from models.assets import assets
from tests.fixtures.assets import ASSETS, send
from tests.support import media

PNG = media.image("PNG")
CSV = b"name\nAna\n"


def path_of(url):
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def test_uploaded_image_is_public_after_its_check_only(client, member, announce, drain, files):
    ana = member("Campaign Manager")
    made = announce(ana, PNG, sha256=hashlib.sha256(PNG).hexdigest())
    asset = f"{ASSETS}/{made['asset']['id']}"
    assert (made["asset"]["state"], made["asset"]["url"]) == ("pending", None)

    assert send(client, made["upload"], PNG) == 201
    unchecked = client.get(asset, token=ana.token).json
    client.post(f"{asset}/complete", token=ana.token)
    checking = client.get(asset, token=ana.token).json
    unserved = [client.get(f"/media/{made['asset']['id']}"), client.get(path_of(made["upload"]["url"]))]
    ran = drain()
    ready = client.get(asset, token=ana.token).json
    shown = client.get(path_of(ready["url"]))

    assert (unchecked["state"], unchecked["url"], checking["state"], checking["url"]) == (
        "pending",
        None,
        "checking",
        None,
    )
    assert [answer.status_code for answer in unserved] == [404, 405]
    assert ran == ["asset.check"]
    assert (ready["state"], ready["size"]) == ("ready", len(shown.content))
    assert ready["sha256"] == hashlib.sha256(shown.content).hexdigest()
    with Image.open(io.BytesIO(shown.content)) as image:
        assert image.size == (8, 4)
    assert [found.key for area in ("uploads", "media") for found in files.list(area)] == [
        f"media/{path_of(ready['url']).rpartition('/')[2]}"
    ]


def test_file_that_is_not_what_was_announced_is_rejected(client, member, upload, files):
    ana = member("Campaign Manager")

    liar = upload(ana, PNG, "video/mp4")
    altered = upload(ana, PNG, sha256="0" * 64)

    assert (liar["state"], liar["reason"], liar["url"]) == ("rejected", "wrong_type", None)
    assert (altered["state"], altered["reason"]) == ("rejected", "wrong_hash")
    assert [found for area in ("uploads", "media", "private") for found in files.list(area)] == []


def test_completion_without_an_upload_is_rejected_once(client, member, announce, drain):
    ana = member("Campaign Manager")
    path = f"{ASSETS}/{announce(ana, PNG)['asset']['id']}"

    first = client.post(f"{path}/complete", token=ana.token)
    again = client.post(f"{path}/complete", token=ana.token)
    drain()
    late = client.post(f"{path}/complete", token=ana.token)

    assert (first.status_code, first.json["actor"]) == (202, "asset.check")
    assert again.json["id"] == first.json["id"]
    assert client.get(path, token=ana.token).json["reason"] == "missing"
    assert (late.status_code, late.json["code"]) == (409, "asset_not_pending")


def test_upload_of_another_size_than_announced_is_refused(client, member, announce, files):
    ana = member("Campaign Manager")
    made = announce(ana, b"x" * 1000)
    big = b"x" * 1_000_000

    claimed = client.put(path_of(made["upload"]["url"]), body=big, headers=made["upload"]["headers"])
    honest = client.put(path_of(made["upload"]["url"]), body=big, headers={"Content-Type": "image/png"})
    short = client.put(path_of(made["upload"]["url"]), body=b"x", headers={"Content-Type": "image/png"})

    assert [answer.status_code for answer in (claimed, honest, short)] == [413, 413, 400]
    assert list(files.list("uploads")) == []


def test_import_is_private_to_the_brand(client, member, make_brand, upload):
    ana, eva = member("Campaign Manager"), member("Brand Admin", make_brand("Other"))

    creator = member("Creator")
    asset = upload(ana, CSV, "text/csv", purpose="import", filename="clientes.csv")
    shown = client.get(path_of(asset["url"]))

    assert shown.content == CSV
    assert shown.headers["content-disposition"].startswith('attachment; filename="clientes.csv"')
    assert shown.headers["cache-control"] == "no-store"
    assert client.get(path_of(asset["url"]).partition("?")[0]).status_code == 404
    assert client.get(f"/media/{asset['id']}").status_code == 404
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/complete")):
        assert client.request(method, f"{ASSETS}/{asset['id']}{path}", token=eva.token).status_code == 404
    assert client.get(ASSETS, token=eva.token).json["items"] == []
    assert client.get(f"{ASSETS}/{asset['id']}", token=creator.token).status_code == 404
    assert client.get(ASSETS, token=creator.token).json["items"] == []


def test_deleted_asset_is_no_longer_served(client, member, upload, drain, files):
    ana = member("Campaign Manager")
    asset = upload(ana, PNG)

    deleted = client.delete(f"{ASSETS}/{asset['id']}", token=ana.token)
    ran = drain()

    assert (deleted.status_code, ran) == (204, ["asset.delete_files"])
    assert client.get(path_of(asset["url"])).status_code == 404
    assert client.get(f"{ASSETS}/{asset['id']}", token=ana.token).status_code == 404
    assert list(files.list("media")) == []


def test_announcement_that_no_purpose_allows_is_refused(client, member):
    ana = member("Campaign Manager")
    base = {"purpose": "media", "filename": "a", "content_type": "image/png", "size": 10}
    changes = [
        ({"content_type": "image/svg+xml"}, "content_type"),
        ({"content_type": "text/html"}, "content_type"),
        ({"content_type": "text/csv"}, "content_type"),
        ({"purpose": "import"}, "content_type"),
        ({"purpose": "export", "content_type": "text/csv"}, "purpose"),
        ({"size": 20_000_001}, "size"),
        ({"size": 0}, "size"),
        ({"sha256": "A" * 64}, "sha256"),
    ]

    for change, field in changes:
        answer = client.post(ASSETS, token=ana.token, json=base | change)
        assert answer.status_code == 422, change
        assert [error["field"] for error in answer.json["errors"]] == [field]


def test_space_of_a_brand_is_limited(client, member, make_brand, announce, upload, monkeypatch):
    ana, eva = member("Campaign Manager"), member("Brand Admin", make_brand("Other"))
    base = {"purpose": "media", "filename": "a", "content_type": "image/png", "size": 101}
    upload(ana, PNG[:30])  # rejected: takes no space

    monkeypatch.setattr(assets, "MAX_BYTES_PER_BRAND", 150)
    announce(ana, PNG[:50])
    too_big = client.post(ASSETS, token=ana.token, json=base)
    fits = client.post(ASSETS, token=ana.token, json=base | {"size": 100})
    monkeypatch.setattr(assets, "MAX_BYTES_PER_BRAND", 10_000)
    monkeypatch.setattr(assets, "MAX_FILES_PER_BRAND", 2)
    too_many = client.post(ASSETS, token=ana.token, json=base)

    assert fits.status_code == 201
    assert {(answer.status_code, answer.json["code"]) for answer in (too_big, too_many)} == {
        (409, "asset_space_used_up")
    }
    assert client.post(ASSETS, token=eva.token, json=base).status_code == 201


def test_list_of_assets_is_filtered_and_has_pages(client, member, upload, announce):
    ana = member("Campaign Manager")
    ready, table, pending = (
        upload(ana, PNG),
        upload(ana, CSV, "text/csv", purpose="import"),
        announce(ana, PNG)["asset"],
    )

    def ids(query):
        return [item["id"] for item in client.get(f"{ASSETS}{query}", token=ana.token).json["items"]]

    first = client.get(f"{ASSETS}?limit=2", token=ana.token).json
    assert [item["id"] for item in first["items"]] == [pending["id"], table["id"]]
    assert ids(f"?limit=2&cursor={first['next_cursor']}") == [ready["id"]]
    assert ids("?purpose=import") == [table["id"]]
    assert ids("?state=ready&purpose=media") == [ready["id"]]
    assert ids("?state=pending") == [pending["id"]]


@pytest.mark.parametrize(("role", "status"), [("Creator", 403), ("Campaign Manager", 201)])
def test_upload_needs_the_permission_to_write(client, member, role, status):
    body = {"purpose": "media", "filename": "a", "content_type": "image/png", "size": 1}

    assert client.post(ASSETS, token=member(role).token, json=body).status_code == status
