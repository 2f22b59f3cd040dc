"""Allowed types and sizes of assets by purpose."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from models.core.enumerations import enumeration

Purpose = Annotated[
    Literal["media", "import", "export"],
    enumeration(
        "AssetPurpose",
        "Use of a file. `media`: images and videos that everyone may see. `import`: a table that members upload. "
        "`export`: a table that a job has written. Files of imports and exports are private to the brand.",
    ),
]
AssetState = Annotated[
    Literal["pending", "checking", "ready", "rejected"],
    enumeration(
        "AssetState",
        "State of a file. `pending`: its upload is awaited. `checking`: a job checks it. `ready`: it has a URL. "
        "`rejected`: the check has failed; upload another file.",
    ),
]
"""CHECK constraints list the same values of both; a test compares them."""

RejectionReason = Annotated[
    Literal["missing", "wrong_size", "wrong_hash", "wrong_type", "damaged", "too_many_pixels"],
    enumeration(
        "AssetRejection",
        "Reason why a file was rejected. `missing`: it was not uploaded. `wrong_size`, `wrong_hash`, `wrong_type`: it "
        "differs from the announced file. `damaged`: it can't be read to its end. `too_many_pixels`: it has more than "
        "25 million pixels in all frames together, or more than 1,000 frames.",
    ),
]

MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Rule:
    """Extension and maximum size in bytes of a type."""

    extension: str
    max_bytes: int


IMAGES: Mapping[str, Rule] = {
    "image/gif": Rule("gif", 10 * MB),
    "image/jpeg": Rule("jpg", 20 * MB),
    "image/png": Rule("png", 20 * MB),
    "image/webp": Rule("webp", 20 * MB),
}
VIDEOS: Mapping[str, Rule] = {"video/mp4": Rule("mp4", 200 * MB), "video/webm": Rule("webm", 200 * MB)}
TABLES: Mapping[str, Rule] = {
    "text/csv": Rule("csv", 100 * MB),
    "application/x-ndjson": Rule("jsonl", 100 * MB),
}
EXPORTS: Mapping[str, Rule] = {
    "text/csv": Rule("csv", 2000 * MB),
    "application/x-ndjson": Rule("jsonl", 2000 * MB),
    "application/vnd.apache.parquet": Rule("parquet", 2000 * MB),
}

RULES: Mapping[str, Mapping[str, Rule]] = {"media": {**IMAGES, **VIDEOS}, "import": TABLES, "export": EXPORTS}
"""Allowed types of each purpose. HTML and SVG are missing: they can run scripts."""

MEDIA_TYPES: Mapping[str, str] = {rule.extension: name for name, rule in RULES["media"].items()}
"""Type of a public file by its extension."""

MAX_BYTES = max(rule.max_bytes for rules in (RULES["media"], TABLES) for rule in rules.values())
"""Maximum size of an upload."""
