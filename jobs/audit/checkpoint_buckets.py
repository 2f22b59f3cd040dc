"""Checkpoints of the audit trail in an S3 bucket, or in whatever speaks S3's protocol.

    s3://bucket/prefix?region=eu-central-1&lock_days=3650
    s3://bucket/prefix?endpoint=https://minio.internal&lock_days=3650

Credentials are found as boto3 finds them: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or the machine's role. Each
object is written on condition that there is none of its name, and with `lock_days` nobody can delete it, nor write
another version of it in its place, for so long (Object Lock in compliance mode; the bucket has to have it enabled).
Whoever writes a newer version, or a delete marker, changes nothing: it is the oldest version that is read.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any
from urllib.parse import SplitResult, parse_qsl

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from jobs.audit.checkpoint_stores import MOST_BYTES, TIMEOUT, number_in, require_stored, text_of
from models.audit.checkpoints import name_of
from models.core import http_fetch
from models.core.database import now

_PARAMETERS = {"region", "endpoint", "lock_days"}
MOST_PAGES = 1000
"""Pages of a list that are read, each of 1,000 versions."""
_TAKEN = {"PreconditionFailed", "ConditionalRequestConflict"}


class Bucket:
    """A bucket, or what is below a prefix in it; see `Store`."""

    def __init__(self, url: SplitResult) -> None:
        said = dict(parse_qsl(url.query))
        if unknown := said.keys() - _PARAMETERS:
            raise ValueError(f"a bucket has no {', '.join(sorted(unknown))}")
        self._bucket = url.netloc
        self._prefix = f"{url.path.strip('/')}/".lstrip("/")
        self._lock = timedelta(days=int(said.get("lock_days", 0)))
        # A session of its own finds credentials that have been changed meanwhile.
        self._client = boto3.Session().client(
            "s3", region_name=said.get("region"), endpoint_url=said.get("endpoint"), config=_config("endpoint" in said)
        )
        self._client.meta.events.register("before-send.s3", _send)

    def put(self, number: int, document: str) -> None:
        """See `Store`."""
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
        """See `Store`: those below a delete marker, too."""
        found = (number_in(version["Key"].removeprefix(self._prefix)) for version in self._versions(self._prefix))
        return iter(sorted({number for number in found if number is not None}))

    def get(self, number: int) -> str | None:
        """See `Store`: as it was first."""
        key = self._key(number)
        versions = [version for version in self._versions(key) if version["Key"] == key]
        if not versions:
            return None
        oldest = min(versions, key=lambda version: version["LastModified"])
        with _as_os_error(self._bucket):
            found = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=oldest["VersionId"])
            return text_of(found["Body"].read())

    def _versions(self, prefix: str) -> list[dict[str, Any]]:
        """All versions of the objects whose keys begin so, newest first where they are of one object."""
        pages = self._client.get_paginator("list_object_versions")
        with _as_os_error(self._bucket):
            found = []
            for number, page in enumerate(pages.paginate(Bucket=self._bucket, Prefix=prefix)):
                if number >= MOST_PAGES:
                    raise OSError(f"{self._bucket} has more than {MOST_PAGES} pages of versions")
                found += page.get("Versions", [])
        return found[::-1]

    def _key(self, number: int) -> str:
        return self._prefix + name_of(number)


class _Content(io.BytesIO):
    """Content of an answer in the form that botocore reads."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def _send(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
    """Send a request in place of botocore.

    botocore restarts its time limit with each byte, and has no size limit.

    Raises:
        HTTPClientError: as botocore would.
    """
    body = request.body if isinstance(request.body, bytes | None) else request.body.read()
    headers = {name: text.decode() if isinstance(text, bytes) else text for name, text in request.headers.items()}
    headers.pop("Expect", None)  # nothing waits for 100 Continue
    try:
        answer = http_fetch.request(
            request.method, request.url, timeout=TIMEOUT, max_bytes=MOST_BYTES, content=body, headers=headers
        )
    except OSError as error:
        raise HTTPClientError(error=error) from error
    return AWSResponse(request.url, answer.status, answer.headers, _Content(answer.content))


def _config(elsewhere: bool) -> Config:
    return Config(
        retries={"total_max_attempts": 1},  # the job is tried again
        s3={"addressing_style": "path"} if elsewhere else None,
    )


@contextmanager
def _as_os_error(bucket: str) -> Iterator[None]:
    """What the vendor raises, as what a store raises: FileExistsError where there is something of that name."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        kind = FileExistsError if code in _TAKEN else OSError
        raise kind(f"{bucket} answers {code}") from error
    except BotoCoreError as error:
        raise OSError(f"{bucket}: {error}") from error
