"""Storage in an S3 bucket: of Supabase Storage, or of another service with S3's protocol.

    s3://bucket?endpoint=https://<ref>.storage.supabase.co/storage/v1/s3&region=eu-central-1

boto3 finds the credentials: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or the machine's role.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from models.assets.storage.base import NOT_STORED, Area, SignedUpload, StoredObject, TooBig, attachment, split_key
from models.core import s3
from models.core.database import now

_PARAMETERS = {"region", "endpoint"}
_MISSING = {"NoSuchKey", "404"}
_CHUNK = 1 << 20
PUBLIC_SECONDS = 900
"""Seconds for which a redirect to a public file is valid."""


class Bucket:
    """Private bucket. Clients reach its files by signed URLs only."""

    def __init__(self, url: SplitResult) -> None:
        parameters = dict(parse_qsl(url.query))
        if unknown := parameters.keys() - _PARAMETERS:
            raise ValueError(f"unknown options of a bucket: {', '.join(sorted(unknown))}")
        self._bucket = url.netloc
        config = Config(
            signature_version="s3v4",
            connect_timeout=5,
            read_timeout=30,
            retries={"total_max_attempts": 2},
            s3={"addressing_style": "path"} if "endpoint" in parameters else None,
        )
        self._client = s3.client(region=parameters.get("region"), endpoint=parameters.get("endpoint"), config=config)

    def sign_upload(self, key: str, *, content_type: str, size: int, expires_at: datetime) -> SignedUpload:
        """Return the request that uploads a file; see `Storage`."""
        signed = {"ContentType": content_type, "ContentLength": size, "IfNoneMatch": "*"}
        url = self._sign("put_object", key, expires_at, signed)
        headers = {"Content-Type": content_type, "Content-Length": str(size), "If-None-Match": "*"}
        return SignedUpload("PUT", url, headers, expires_at)

    def sign_download(self, key: str, *, filename: str, content_type: str, expires_at: datetime) -> str:
        """Return a URL that downloads a private file; see `Storage`."""
        answer = {
            "ResponseContentDisposition": attachment(filename),
            "ResponseContentType": content_type,
            "ResponseCacheControl": NOT_STORED,
        }
        return self._sign("get_object", key, expires_at, answer)

    def public_url(self, name: str) -> str:
        """Return a signed URL of a public file; see `Storage`."""
        return self._client.generate_presigned_url(  # type: ignore[no-any-return]
            "get_object", Params=self._object(f"media/{name}"), ExpiresIn=PUBLIC_SECONDS
        )

    def _sign(self, operation: str, key: str, expires_at: datetime, more: dict[str, Any]) -> str:
        seconds = max(1, int((expires_at - now()).total_seconds()))
        params = {**self._object(key), **more}
        return self._client.generate_presigned_url(operation, Params=params, ExpiresIn=seconds)  # type: ignore[no-any-return]

    def fetch(self, key: str, into: Path, *, max_bytes: int) -> int:
        """Download a file; see `Storage`."""
        size = 0
        with self._as_os_error(), into.open("wb") as file:
            body = self._client.get_object(**self._object(key))["Body"]
            for chunk in body.iter_chunks(_CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise TooBig
                file.write(chunk)
        return size

    def store(self, key: str, source: Path, *, content_type: str, cache_control: str) -> None:
        """Upload a file; see `Storage`."""
        with self._as_os_error(), source.open("rb") as file:
            self._client.put_object(
                **self._object(key), Body=file, ContentType=content_type, CacheControl=cache_control
            )

    def delete(self, key: str) -> None:
        """Delete a file; see `Storage`."""
        with self._as_os_error():
            self._client.delete_object(**self._object(key))

    def list(self, area: Area, prefix: str = "") -> Iterator[StoredObject]:
        """Return the files of an area; see `Storage`."""
        with self._as_os_error():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=f"{area}/{prefix}"):
                for found in page.get("Contents", []):
                    yield StoredObject(found["Key"], found["Size"], found["LastModified"])

    def _object(self, key: str) -> dict[str, str]:
        split_key(key)
        return {"Bucket": self._bucket, "Key": key}

    @contextmanager
    def _as_os_error(self) -> Iterator[None]:
        """Raise the vendor's errors as OSError, and as FileNotFoundError if there is no such object."""
        try:
            yield
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            kind = FileNotFoundError if code in _MISSING else OSError
            raise kind(f"{self._bucket} answers {code}") from error
        except BotoCoreError as error:
            raise OSError(f"{self._bucket}: {error}") from error
