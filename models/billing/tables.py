"""Tables that mirror Stripe's objects."""

import peewee
from playhouse.postgres_ext import DateTimeTZField

from models.core.database import Row


class Subscription(Row):
    """A brand's subscription to a plan; `user_id` is the person who bought it."""

    id = peewee.TextField(primary_key=True)
    user_id = peewee.UUIDField()
    brand_id = peewee.UUIDField()
    plan_id = peewee.TextField(null=True)
    status = peewee.TextField(null=True)
    started_at = DateTimeTZField(null=True)
    ended_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "subscriptions"


class Payment(Row):
    """A payment intent. `amount_cents` is in minor units of `currency`."""

    id = peewee.TextField(primary_key=True)
    user_id = peewee.UUIDField()
    brand_id = peewee.UUIDField()
    amount_cents = peewee.BigIntegerField()
    currency = peewee.TextField()
    status = peewee.TextField(null=True)
    created_at = DateTimeTZField()

    class Meta:
        """Name of the table."""

        table_name = "payments"


class Coupon(Row):
    """A discount: either a percentage, or an amount in minor units of `currency`."""

    id = peewee.TextField(primary_key=True)
    discount_percent = peewee.IntegerField(null=True)
    amount_off_cents = peewee.BigIntegerField(null=True)
    currency = peewee.TextField(null=True)
    expires_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "coupons"
