"""Checkpoint store in an S3 bucket, or in another service with S3's protocol.

    s3://bucket/prefix?region=eu-central-1&lock_days=3650
    s3://bucket/prefix?endpoint=https://minio.internal&lock_days=3650

boto3 finds the credentials: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or the machine's role. Each object is
written on the condition that its name is free. With `lock_days`, no account can delete or replace it for so many days
(Object Lock in compliance mode, which the bucket must have enabled). The oldest version of an object is read, so a
newer version or a delete marker changes nothing.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qsl

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from jobs.audit.stores import base
from jobs.audit.stores.base import number_in, require_stored, text_of
from models.audit.checkpoints import name_of
from models.core import http_fetch, s3
from models.core.database import now

_PARAMETERS = {"region", "endpoint", "lock_days"}
MAX_PAGES = 1000
"""Pages of a list that are read, each of 1,000 versions."""
_NAME_IS_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}


class Bucket:
    """Bucket, or a prefix in it."""

    def __init__(self, url: SplitResult) -> None:
        parameters = dict(parse_qsl(url.query))
        if unknown := parameters.keys() - _PARAMETERS:
            raise ValueError(f"unknown options of a bucket: {', '.join(sorted(unknown))}")
        self._bucket = url.netloc
        self._prefix = f"{url.path.strip('/')}/".lstrip("/")
        self._lock = timedelta(days=int(parameters.get("lock_days", 0)))
        self._client = s3.client(
            region=parameters.get("region"),
            endpoint=parameters.get("endpoint"),
            config=_config("endpoint" in parameters),
        )
        self._client.meta.events.register("before-send.s3", _send)

    def put(self, number: int, document: str) -> None:
        """Store a checkpoint; see `Store`."""
        stored = self.get(number)
        if stored is None:
            self._create(number, document)
        require_stored(self, number, document, stored)

    def _create(self, number: int, document: str) -> None:
        lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": now() + self._lock} if self._lock else {}
        with suppress(FileExistsError), _as_os_error(self._bucket):
            self._client.put_object(
                Bucket=self._bucket,
                Key=self._key(number),
                Body=f"{document}\n".encode(),
                ContentType="application/json",
                IfNoneMatch="*",
                **lock,
            )

    def numbers(self) -> Iterator[int]:
        """Return the numbers of the stored checkpoints in order, those below a delete marker included."""
        found = (number_in(version["Key"].removeprefix(self._prefix)) for version in self._versions(self._prefix))
        return iter(sorted({number for number in found if number is not None}))

    def get(self, number: int) -> str | None:
        """Return the first version of a checkpoint; None if there is none of this number."""
        key = self._key(number)
        versions = [version for version in self._versions(key) if version["Key"] == key]
        if not versions:
            return None
        oldest = min(versions, key=lambda version: version["LastModified"])
        with _as_os_error(self._bucket):
            found = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=oldest["VersionId"])
            return text_of(found["Body"].read())

    def _versions(self, prefix: str) -> list[dict[str, Any]]:
        """Return all versions of the objects with this prefix. S3 lists the newest first; the oldest come first here.

        `min` in `get` takes the first of equal times, and S3 keeps times in whole seconds.
        """
        pages = self._client.get_paginator("list_object_versions")
        with _as_os_error(self._bucket):
            found = []
            for number, page in enumerate(pages.paginate(Bucket=self._bucket, Prefix=prefix)):
                if number >= MAX_PAGES:
                    raise OSError(f"{self._bucket} has more than {MAX_PAGES} pages of versions")
                found += page.get("Versions", [])
        return found[::-1]

    def _key(self, number: int) -> str:
        return self._prefix + name_of(number)


class _Content(io.BytesIO):
    """Content of an answer in the form that botocore reads."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    """Send a request in place of botocore, which restarts its time limit with each byte and has no size limit.

    Raises:
        HTTPClientError: as botocore would.
    """
    body = request.body if isinstance(request.body, bytes | None) else request.body.read()
    headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in request.headers.items()}
    headers.pop("Expect", None)  # http_fetch does not wait for 100 Continue
    try:
        answer = http_fetch.request(
            request.method, request.url, timeout=base.TIMEOUT, max_bytes=base.MAX_BYTES, content=body, headers=headers
        )
    except OSError as error:
        raise HTTPClientError(error=error) from error
    return AWSResponse(request.url, answer.status, answer.headers, _Content(answer.content))


def _config(has_endpoint: bool) -> Config:
    return Config(
        retries={"total_max_attempts": 1},  # the seal process retries
        s3={"addressing_style": "path"} if has_endpoint else None,
    )


@contextmanager
def _as_os_error(bucket: str) -> Iterator[None]:
    """Raise the vendor's errors as OSError, and as FileExistsError if the name of an object is taken."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        kind = FileExistsError if code in _NAME_IS_TAKEN else OSError
        raise kind(f"{bucket} answers {code}") from error
    except BotoCoreError as error:
        raise OSError(f"{bucket}: {error}") from error
