"""Limits on scans, and the weekly hours in which scans count."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from models.core.enumerations import enumeration, values_of
from models.core.messages import REASON, Message

LimitWindow = Annotated[
    Literal["lifetime", "day", "hour"],
    enumeration(
        "LimitWindow",
        "Window of a limit. `hour`, `day`: a calendar hour or day in the campaign's time zone, by the time of "
        "receipt; a scan over the limit is refused with `limit_reached`. `lifetime`: the whole campaign; it is "
        "refused with `cap_exhausted`.",
    ),
]
Weekday = Annotated[
    Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    enumeration("Weekday", "Day of the week in the campaign's time zone."),
]
WEEKDAYS: tuple[str, ...] = values_of(Weekday)

TimeOfDay = Annotated[
    str,
    Meta(
        pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$(?!\n)",
        description="Local time, hours and minutes.",
        examples=["18:00"],
        extra={REASON: Message("must be a time of day from 00:00 to 23:59")},
    ),
]


class Share(Struct, frozen=True, forbid_unknown_fields=True):
    """Maximum number of accepted scans in a window."""

    count: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Accepted scans in one window; the next scan is refused.", examples=[3]),
    ]
    window: Annotated[
        LimitWindow,
        Meta(description="Window in which the scans are counted."),
    ]


class ScanLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits on accepted scans.

    `per_user` and `per_device` limit honest phones. A script creates a new anonymous account and a new fingerprint for
    each scan. Where a scan has value, also set `requires_account`, `total` and a `geofence` with
    `when_uncertain: reject`. Before rewards are given, check the counts of the rules `network.new_devices`
    and `scan.late_batch` in the overview.
    """

    per_user: Annotated[Share | None, Meta(description="Limit for each person; null: no limit. Default: null.")] = None
    per_device: Annotated[
        Share | None,
        Meta(description="Limit for each device, by its fingerprint; null: no limit. Default: null."),
    ] = None
    total: Annotated[
        Share | None, Meta(description="Limit for all scans of the campaign; null: no limit. Default: null.")
    ] = None


class ScanWindow(Struct, frozen=True, forbid_unknown_fields=True):
    """Hours of some days of the week in which scans count, in the campaign's time zone.

    A window that closes at or before its opening closes on the next day. When clocks change, it opens and closes at the
    stated local times and stays open between them.
    """

    days: Annotated[
        list[Weekday],
        Meta(min_length=1, max_length=7, description="Days on which the window opens.", examples=[["fri", "sat"]]),
    ]
    opens: Annotated[TimeOfDay, Meta(description="Local time from which scans count.", examples=["18:00"])]
    closes: Annotated[TimeOfDay, Meta(description="Local time until which scans count.", examples=["02:00"])]
