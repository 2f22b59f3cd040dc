"""Declare the personal data of scans and devices."""

from models.core.personal_data import (
    FIXED_LIST,
    REQUEST_ID,
    UNTIL_ERASURE,
    Category,
    Erasure,
    Export,
    NotPersonal,
    Personal,
    Table,
)

PERSONAL = (
    Table(name="app.limit_notices", not_personal=(NotPersonal(("bucket",), "the key of a time window"),)),
    Table(
        name="public.qr_scans",
        purpose="Decide and count scans, and detect fraud.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("user_id", "device_fp_id", "client_scan_id"), Category.IDENTIFIER, Erasure.DELETE),
            Personal(("location", "accuracy_m", "distance_m", "geofence_status"), Category.LOCATION, Erasure.DELETE),
            Personal(("decision", "reason", "details"), Category.BEHAVIOUR, Erasure.DELETE),
            Personal(("address", "user_agent", "network"), Category.NETWORK, Erasure.DELETE),
            Personal(("request_digest",), Category.CONTENT, Erasure.DELETE, Export.INTERNAL),
            Personal(("new_device", "score", "band", "evidence"), Category.PROFILE, Erasure.DELETE, Export.FRAUD),
        ),
        not_personal=(NotPersonal(("request_id",), REQUEST_ID),),
    ),
    Table(
        name="public.device_fingerprints",
        purpose="Recognise a device of one brand, to limit its scans and detect fraud.",
        retention=UNTIL_ERASURE,
        found_by="id = public.qr_scans.device_fp_id",
        personal=(Personal(("id", "fingerprint_hash"), Category.IDENTIFIER, Erasure.DELETE, Export.FRAUD),),
    ),
    Table(
        name="app.limit_counters",
        purpose="Limit the scans of a person and of a device.",
        retention=f"{UNTIL_ERASURE}; windows of hours and days 3 days",
        deleted_by="limit_counters.expire",
        found_by="subject",
        personal=(Personal(("subject",), Category.IDENTIFIER, Erasure.DELETE, Export.INTERNAL),),
        not_personal=(NotPersonal(("scope", "bucket"), FIXED_LIST),),
    ),
    Table(name="app.scan_refusals", not_personal=(NotPersonal(("reason",), FIXED_LIST),)),
    Table(name="public.scan_rollups", not_personal=(NotPersonal(("kind", "key"), FIXED_LIST),)),
)
