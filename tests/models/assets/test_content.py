"""Test the check of files: what is refused, and what is left of their metadata."""

import hashlib
import io

import pytest
from PIL import Image

from models.assets import content, types
from models.assets.content import Rejected
from tests.support import media
from tests.support.media import HTML, PLACE

PNG = media.image("PNG")
MP4 = media.mp4()


@pytest.fixture
def check(tmp_path):
    """`check(data, content_type)`: check a file with this content and return the clean bytes."""

    def check(data, content_type, size=None, sha256=None):
        path = tmp_path / "upload"
        path.write_bytes(data)
        checked = content.check(path, content_type, len(data) if size is None else size, sha256)
        clean = checked.path.read_bytes()
        assert (checked.size, checked.sha256) == (len(clean), hashlib.sha256(clean).hexdigest())
        return clean

    return check


SOUND = [
    (PNG, "image/png"),
    (media.image("JPEG"), "image/jpeg"),
    (media.image("WEBP"), "image/webp"),
    (media.image("GIF"), "image/gif"),
    (MP4, "video/mp4"),
    (media.mp4(media.box(b"free", bytes(9))), "video/mp4"),
    (media.webm(), "video/webm"),
    (media.webm(known=False), "video/webm"),
    ("name;city\nAna;Málaga\n".encode("utf-16"), "text/csv"),
    (b'{"name": "Ana"}\n', "application/x-ndjson"),
]

HOSTILE = [
    (PNG, "image/jpeg", "wrong_type"),
    (PNG, "video/mp4", "wrong_type"),
    (PNG, "video/webm", "wrong_type"),
    (MP4, "image/png", "wrong_type"),
    (MP4, "video/webm", "wrong_type"),
    (media.webm(), "video/mp4", "wrong_type"),
    (HTML, "image/png", "wrong_type"),
    (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "image/png", "wrong_type"),
    (b"%PDF-1.7", "image/jpeg", "wrong_type"),
    (PNG, "text/csv", "wrong_type"),
    (b"PK\x03\x04xlsx", "text/csv", "wrong_type"),
    (b"PAR1", "application/x-ndjson", "wrong_type"),
    (PNG[:50], "image/png", "damaged"),
    (media.image("JPEG", (64, 64))[:-300], "image/jpeg", "damaged"),
    (media.image("WEBP", (64, 64))[:-20], "image/webp", "damaged"),
    (media.huge_png(8, 4), "image/png", "damaged"),
    (media.gif(3)[:75], "image/gif", "damaged"),  # IndexError of Pillow
    (media.gif(3)[:83], "image/gif", "damaged"),  # struct.error of Pillow
    (media.huge_png(5001, 5000), "image/png", "too_many_pixels"),
    (media.huge_png(2_000_000, 2_000_000), "image/png", "too_many_pixels"),
    (MP4[:-4], "video/mp4", "damaged"),
    (MP4 + HTML, "video/mp4", "damaged"),
    (MP4 + media.box(b"html", HTML), "video/mp4", "damaged"),
    (media.box(b"ftyp", b"isom" + bytes(8)) + media.box(b"mdat"), "video/mp4", "damaged"),
    (media.box(b"ftyp", b"heic" + bytes(8)), "video/mp4", "wrong_type"),
    (b"\0\0\0\x04ftypisom", "video/mp4", "damaged"),
    (media.webm() + HTML, "video/webm", "damaged"),
    (media.webm()[:-2], "video/webm", "damaged"),
    (media.webm().replace(b"webm", b"mkv!"), "video/webm", "wrong_type"),
    (b"\x1a\x45\xdf\xa3\x00", "video/webm", "damaged"),
]


def test_sound_files_are_accepted(check):
    for data, content_type in SOUND:
        assert check(data, content_type), content_type


def test_hostile_files_are_rejected(check):
    for data, content_type, reason in HOSTILE:
        with pytest.raises(Rejected) as refused:
            check(data, content_type)
        assert refused.value.reason == reason, (data[:40], content_type)


def test_nested_boxes_of_hostile_videos_are_bounded(check):
    nested = b""
    for _ in range(12):
        nested = media.box(b"moov", nested)
    many = media.mp4(media.box(b"free") * 100_001)

    for data in (media.mp4(nested), many):
        with pytest.raises(Rejected, match="damaged"):
            check(data, "video/mp4")


def test_file_that_differs_from_its_announcement_is_rejected(check):
    digest = hashlib.sha256(PNG).hexdigest()

    assert check(PNG, "image/png", sha256=digest)
    with pytest.raises(Rejected, match="wrong_size"):
        check(PNG, "image/png", size=len(PNG) - 1)
    with pytest.raises(Rejected, match="wrong_hash"):
        check(PNG + b" ", "image/png", sha256=digest)


def test_image_keeps_its_pixels_and_loses_what_follows_them(check):
    clean = check(PNG + HTML, "image/png")

    assert HTML not in clean
    with Image.open(io.BytesIO(clean)) as shown, Image.open(io.BytesIO(PNG)) as sent:
        assert shown.convert("RGB").tobytes() == sent.convert("RGB").tobytes()


def test_photo_is_turned_upright_and_loses_its_place(check):
    sent = media.jpeg_of_a_phone()
    with Image.open(io.BytesIO(sent)) as before:
        assert before.getexif().get_ifd(0x8825)

    clean = check(sent, "image/jpeg")

    with Image.open(io.BytesIO(clean)) as image:
        assert not image.getexif()
        assert image.size == (32, 64)
        assert image.convert("RGB").getpixel((16, 4))[0] > 200  # the red half is on top
    assert b"Phone" not in clean


def test_text_and_colour_profile_of_png_are_told_apart(check):
    from PIL.ImageCms import ImageCmsProfile, createProfile
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    notes.add_text("Author", "Ana")
    profile = ImageCmsProfile(createProfile("sRGB")).tobytes()

    clean = check(media.image("PNG", pnginfo=notes, icc_profile=profile), "image/png")

    assert b"Ana" not in clean
    with Image.open(io.BytesIO(clean)) as image:
        assert image.info["icc_profile"] == profile


def test_animation_keeps_its_frames(check, monkeypatch):
    clean = check(media.gif(3), "image/gif")

    with Image.open(io.BytesIO(clean)) as image:
        assert image.n_frames == 3
    monkeypatch.setattr(content, "MAX_PIXELS", content.MIN_FRAME * 3 - 1)
    with pytest.raises(Rejected, match="too_many_pixels"):
        check(media.gif(3), "image/gif")


def test_place_of_a_video_is_overwritten(check):
    assert PLACE in MP4

    clean = check(MP4, "video/mp4")

    assert PLACE not in clean
    assert len(clean) == len(MP4)
    assert b"pictures" in clean


def test_rules_exclude_types_that_can_run_scripts():
    allowed = {name for rules in types.RULES.values() for name in rules}

    assert allowed.isdisjoint({"text/html", "image/svg+xml", "application/xhtml+xml", "application/pdf"})
    assert types.MEDIA_TYPES.keys() == {"gif", "jpg", "png", "webp", "mp4", "webm"}
