"""The log of attempts to deliver events."""

from uuid import UUID

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row


class Attempt(Row):
    """An attempt to deliver an event. `error` is null if it succeeded."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    endpoint_id = peewee.UUIDField()
    event_id = peewee.UUIDField()
    type = peewee.TextField()
    attempted_at = DateTimeTZField()
    duration_ms = peewee.IntegerField()
    status = peewee.IntegerField(null=True)
    error = peewee.TextField(null=True)
    response = peewee.TextField(default="")

    class Meta:
        """Name of the table."""

        table_name = "webhook_attempts"
        schema = "app"


def find(
    endpoint_id: UUID,
    *,
    limit: int,
    after: UUID | None = None,
    event_id: UUID | None = None,
    failed: bool | None = None,
) -> list[Attempt]:
    """Return up to `limit` attempts at an endpoint, newest first, that follow the attempt with the id `after`.

    Args:
        endpoint_id: the endpoint.
        limit: maximum number of attempts.
        after: the last attempt of the previous page.
        event_id: only attempts to deliver this event.
        failed: only failed attempts, or only successful ones.
    """
    query = Attempt.select().where(Attempt.endpoint_id == endpoint_id).order_by(Attempt.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Attempt.id < after)
    if event_id is not None:
        query = query.where(Attempt.event_id == event_id)
    if failed is not None:
        query = query.where(Attempt.error.is_null(not failed))
    return list(query)
