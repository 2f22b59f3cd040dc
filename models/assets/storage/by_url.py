"""Open the storage that `STORAGE_URL` names.

file:var/assets or file:///mnt/assets   a directory; a relative path starts at the checkout
s3://bucket?endpoint=…&region=…         a bucket (`models.assets.storage.bucket`)
"""

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.assets.storage.base import Storage
from models.assets.storage.folder import Folder
from settings import settings

ROOT = Path(__file__).resolve().parents[3]


@cache
def storage() -> Storage:
    """Return the storage of this installation."""
    return storage_at(settings.storage_url)


def storage_at(url: str) -> Storage:
    """Return the storage that a URL names.

    Raises:
        ValueError: the URL names no storage.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Folder(ROOT / unquote(parts.path), settings.public_url)
    if parts.scheme == "s3" and parts.netloc:
        from models.assets.storage.bucket import Bucket  # imported here: the vendor's SDK takes a second to load

        return Bucket(parts)
    raise ValueError(f"STORAGE_URL must be file:… or s3://…, not {parts.scheme}:")
