"""Test the jobs of assets: repeated and interrupted checks, and the clean-up."""

import os
from datetime import timedelta
from uuid import uuid4

import pytest

import jobs.assets as actors
from models.assets import assets
from models.assets.storage.by_url import storage
from models.core import context
from models.core.database import now, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.assets import ASSETS, send
from tests.support import media
from tests.support.kills import kill_after, kill_before

PNG = media.image("PNG")


@pytest.fixture
def clean_up(drain, caplog):
    """`clean_up()`: run the clean-up and return its log."""

    def clean_up():
        with transaction(context.for_system_job()):
            enqueue("assets.clean")
        with caplog.at_level("INFO", logger=actors.__name__):
            drain()
        return [record.getMessage() for record in caplog.records if record.name == actors.__name__]

    return clean_up


def age(query, files, **period):
    """Move all assets and files into the past."""
    past = timedelta(**period)
    query("update assets set created_at = created_at - %s", past)
    for area in ("uploads", "media", "private"):
        for found in files.list(area):
            at = (found.modified_at - past).timestamp()
            os.utime(files.path(found.key), (at, at))


@pytest.mark.parametrize("step", ["fetch", "store", "delete"])
def test_check_that_was_interrupted_ends_the_same(client, member, announce, drain, files, monkeypatch, step):
    ana = member("Campaign Manager")
    made = announce(ana, PNG)
    send(client, made["upload"], PNG)
    path = f"{ASSETS}/{made['asset']['id']}"
    client.post(f"{path}/complete", token=ana.token)
    real, left = getattr(storage(), step), [1]

    def interrupted(*args, **options):
        result = real(*args, **options)
        if left:
            left.pop()
            raise OSError("the connection broke after the effect")
        return result

    monkeypatch.setattr(storage(), step, interrupted)
    ran = drain()

    asset = client.get(path, token=ana.token).json
    assert ran == ["asset.check", "asset.check"]
    assert asset["state"] == "ready"
    assert [found.key for area in ("uploads", "media", "private") for found in files.list(area)] == [
        f"media/{asset['url'].rpartition('/')[2]}"
    ]


def test_file_of_an_asset_deleted_during_its_check_is_deleted(
    client, member, announce, drain, files, query, monkeypatch
):
    ana = member("Campaign Manager")
    made = announce(ana, PNG)
    send(client, made["upload"], PNG)
    path = f"{ASSETS}/{made['asset']['id']}"
    client.post(f"{path}/complete", token=ana.token)
    real = storage().store

    def delete_meanwhile(*args, **options):
        real(*args, **options)
        assert client.delete(path, token=ana.token).status_code == 204
        query("delete from app.jobs where actor = 'asset.delete_files'")  # as if it had run before the file was stored

    monkeypatch.setattr(storage(), "store", delete_meanwhile)
    drain()

    assert [found.key for area in ("uploads", "media", "private") for found in files.list(area)] == []


def test_upload_after_the_check_does_not_change_the_file(client, member, upload, announce, drain, files):
    ana = member("Campaign Manager")
    made = announce(ana, PNG)
    send(client, made["upload"], PNG)
    path = f"{ASSETS}/{made['asset']['id']}"
    client.post(f"{path}/complete", token=ana.token)
    drain()
    before = client.get(path, token=ana.token).json

    assert send(client, made["upload"], media.image("PNG", (9, 9))[: len(PNG)].ljust(len(PNG), b"\0")) == 201
    client.post(f"{path}/complete", token=ana.token)
    drain()

    assert client.get(path, token=ana.token).json == before


def test_clean_up_deletes_what_nobody_completes(client, member, announce, upload, clean_up, files, query):
    ana = member("Campaign Manager")
    kept, rejected, pending = upload(ana, PNG), upload(ana, b"x"), announce(ana, PNG)
    send(client, pending["upload"], PNG)
    for key in (f"media/{uuid4()}-{'0' * 16}.png", f"private/{uuid4()}", "uploads/no-id"):
        files.path(key).parent.mkdir(exist_ok=True)
        files.path(key).write_bytes(b"orphan")

    young = clean_up()
    ids = {row[0] for row in query("select id::text from assets")}
    age(query, files, hours=25)
    old = clean_up()[len(young) :]

    assert young == ["deleted 0 expired assets and 0 files without an asset"]
    assert ids == {kept["id"], rejected["id"], pending["asset"]["id"]}
    assert old[-1] == "deleted 1 expired assets and 4 files without an asset"
    assert {row[0] for row in query("select id::text from assets")} == {kept["id"], rejected["id"]}
    assert [found.key for area in ("uploads", "media", "private") for found in files.list(area)] == [
        f"media/{kept['url'].rpartition('/')[2]}"
    ]
    age(query, files, days=30)
    clean_up()
    assert query("select id::text from assets") == [(kept["id"],)]


def test_clean_up_works_in_batches_and_reports_missing_files(member, upload, clean_up, files, query, monkeypatch):
    ana = member("Campaign Manager")
    made = [upload(ana, PNG) for _ in range(5)]
    monkeypatch.setattr(actors, "BATCH", 2)
    age(query, files, hours=25)
    whole = clean_up()

    for asset in (made[1], made[4]):
        files.delete(f"media/{asset['url'].rpartition('/')[2]}")
    reported = clean_up()[len(whole) :]

    assert whole == ["deleted 0 expired assets and 0 files without an asset"]
    assert reported[-1] == "the storage lacks the files of 2 assets"
    assert len(list(files.list("media"))) == 3
    assert query("select count(*) from assets where created_at < %s", now()) == [(5,)]


PLACES = [
    ("fetch", "before"),
    ("fetch", "after"),
    ("store", "before"),
    ("store", "after"),
    ("delete", "before"),
    ("delete", "after"),
]


@pytest.mark.parametrize(
    ("step", "place"),
    [pytest.param(*case, marks=() if case == ("store", "after") else pytest.mark.slow) for case in PLACES],
)
def test_check_killed_at_a_call_of_the_storage_ends_the_same(
    client, member, announce, drain_with_kill, files, step, place
):
    ana = member("Campaign Manager")
    made = announce(ana, PNG)
    send(client, made["upload"], PNG)
    path = f"{ASSETS}/{made['asset']['id']}"
    client.post(f"{path}/complete", token=ana.token)

    drain_with_kill(lambda: (kill_before if place == "before" else kill_after)(storage(), step))

    asset = client.get(path, token=ana.token).json
    assert (drain_with_kill.has_killed, asset["state"]) == (True, "ready")
    assert [found.key for found in files.list("media")] == [f"media/{asset['url'].rpartition('/')[2]}"]
    assert list(files.list("uploads")) == []


def test_rejected_file_is_not_accepted_by_a_late_check(manager, files, query):
    with manager.acting():
        asset, _ = assets.reserve(purpose="media", filename="a.png", content_type="image/png", size=1)
    query("update assets set state = 'rejected', reason = 'damaged' where id = %s", asset.id)

    with transaction(context.for_brand_job(asset.brand_id)):
        accepted = assets.accept(asset.id, size=1, sha256="0" * 64)

    assert (accepted, query("select state from assets")) == (False, [("rejected",)])
