"""Table models of scans."""

import peewee
from playhouse.postgres_ext import BinaryJSONField, DateTimeTZField

from models.core.database import Row


class GeographyField(peewee.Field):
    """A PostGIS point on the WGS-84 ellipsoid."""

    field_type = "geography"


class RealField(peewee.Field):
    """A single-precision number."""

    field_type = "real"


class CidrField(peewee.Field):
    """An IPv4 or IPv6 network."""

    field_type = "cidr"


class QrScan(Row):
    """A scan: the request, the decision with its reason, and the fraud score."""

    id = peewee.UUIDField(primary_key=True)
    brand_id = peewee.UUIDField()
    campaign_id = peewee.UUIDField()
    code_id = peewee.UUIDField()
    user_id = peewee.UUIDField()
    device_fp_id = peewee.UUIDField()
    client_scan_id = peewee.UUIDField()
    request_digest = peewee.BlobField()
    location = GeographyField(null=True)
    accuracy_m = RealField(null=True)
    captured_at = DateTimeTZField(null=True)
    scan_time = DateTimeTZField()
    received_at = DateTimeTZField()
    late = peewee.BooleanField(default=False)
    new_device = peewee.BooleanField(default=False)
    is_test = peewee.BooleanField(default=False)
    distance_m = RealField(null=True)
    geofence_status = peewee.TextField()
    decision = peewee.TextField()
    reason = peewee.TextField(null=True)
    details = BinaryJSONField(index=False)  # type: ignore[no-untyped-call]
    address = peewee.TextField(null=True)
    user_agent = peewee.TextField(null=True)
    network = CidrField(null=True)
    request_id = peewee.TextField(null=True)
    flagged = peewee.BooleanField(default=False)
    score = RealField(null=True)
    band = peewee.TextField(null=True)
    evidence = BinaryJSONField(index=False, null=True)  # type: ignore[no-untyped-call]
    scored_at = DateTimeTZField(null=True)

    class Meta:
        """Name of the table."""

        table_name = "qr_scans"
