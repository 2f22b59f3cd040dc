"""Open the checkpoint store that a URL names.

file:///mnt/worm/audit or file:var/checkpoints   a folder; a relative path starts at the checkout
https://user:password@host/path                  a server that accepts PUT with `If-None-Match: *`
s3://bucket/prefix?…                             a bucket (`jobs.audit.stores.bucket`)
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from jobs.audit.stores.base import Store
from jobs.audit.stores.folder import Folder
from jobs.audit.stores.server import Server

ROOT = Path(__file__).resolve().parents[3]


def store_at(url: str) -> Store:
    """Return the store that a URL names. A bare path is a folder.

    Raises:
        ValueError: the URL names no store.
    """
    parts = urlsplit(url)
    if parts.scheme in ("", "file"):
        return Folder(ROOT / unquote(parts.path))
    if parts.scheme in ("http", "https") and parts.hostname:
        return Server(parts)
    if parts.scheme == "s3" and parts.netloc:
        from jobs.audit.stores.bucket import Bucket  # imported here: the vendor's SDK takes long to load

        return Bucket(parts)
    raise ValueError(f"a checkpoint store must be file:…, https://… or s3://…, not {parts.scheme}:")
