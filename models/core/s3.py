"""Clients of S3, or of another service with S3's protocol."""

from functools import cache
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.loaders import Loader, create_loader

_loader = cache(create_loader)
"""Reader of the descriptions of services. It keeps what it has read: reading S3's takes 0.1 s of processor time."""


def client(*, region: str | None, endpoint: str | None, config: Config) -> Any:
    """Return a client with the machine's present credentials.

    The default session would keep its credentials for the life of the process; each client has a session of its own.
    """
    session = botocore.session.Session()
    found = boto3.Session(botocore_session=session)
    loader: Loader = _loader()
    session.register_component("data_loader", loader)
    return found.client("s3", region_name=region, endpoint_url=endpoint, config=config)
