"""Declare the personal data of tables: the types, and the declarations of this domain's tables.

Each domain lists its tables in `PERSONAL` of its own module `personal_data`. `models.privacy.register` collects them. A
column is declared personal, or declared not personal with a reason, or exempt by its type and name (`is_exempt`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """Kind of personal data."""

    CONTACT = "contact"
    IDENTIFIER = "identifier"
    CREDENTIAL = "credential"
    PREFERENCE = "preference"
    NETWORK = "network"
    LOCATION = "location"
    BEHAVIOUR = "behaviour"
    PROFILE = "profile"
    CONSENT = "consent"
    FINANCE = "finance"
    CONTENT = "content"


class Erasure(StrEnum):
    """Action on a column when its person is erased."""

    DELETE = "delete the row"
    CASCADE = "delete the row with the account (foreign key)"
    UNLINK = "set to null with the account (foreign key)"
    CLEAR = "set to null or to its default"
    EXPIRE = "none; the row is deleted at the end of its retention"
    AUDIT_VALUE = "delete the value with `app.erase_audit_values`; its salted hash stays"
    PSEUDONYM = "none; the bare id stays as a pseudonym"
    PROOF = "none; proof of consent under the bare id"


class Export(StrEnum):
    """Reason for which a column is part of the export of a person's data, or is not."""

    INCLUDE = "yes"
    SECRET = "no: a secret"
    FRAUD = "no: it would show how to defeat the fraud rules"
    OTHER_PERSON = "no: it names another person"
    INTERNAL = "no: a copy or a technical trace of exported data"


@dataclass(frozen=True, slots=True)
class Personal:
    """Personal columns of one table that share a category and their actions."""

    columns: tuple[str, ...]
    category: Category
    erasure: Erasure
    export: Export = Export.INCLUDE


@dataclass(frozen=True, slots=True)
class NotPersonal:
    """Columns of one table that hold no personal data, and the reason."""

    columns: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Personal data of one table.

    Exempt columns of a table about people (times, counts, flags) are exported and erased with the row.

    Attributes:
        name: the table with its schema.
        purpose: the purpose of the personal data.
        retention: the time that rows are kept, in words.
        deleted_by: the scheduled job or process that deletes rows; None if no job does.
        found_by: the column by which the rows of a person are found; with a table and column (`app.sessions.id`)
            after `=` if it refers to another declared table.
        personal: the personal columns.
        not_personal: the other columns that are not exempt.
    """

    name: str
    purpose: str = ""
    retention: str = ""
    deleted_by: str | None = None
    found_by: str = ""
    personal: tuple[Personal, ...] = ()
    not_personal: tuple[NotPersonal, ...] = ()

    def personal_columns(self) -> Iterator[str]:
        """Return the names of the personal columns."""
        for group in self.personal:
            yield from group.columns

    def declared_columns(self) -> Iterator[str]:
        """Return the names of all declared columns, personal or not."""
        yield from self.personal_columns()
        for group in self.not_personal:
            yield from group.columns


UNTIL_ERASURE = "until the person or the brand is erased"
FIXED_LIST = "one of a fixed list of values"
NAME_IN_CODE = "a name in the program"
REQUEST_ID = "a random id of one request"
BRAND_CONTENT = "content of the brand about its own work"
VENDOR_ID = "an id that Stripe gave to an object without a person"

MEASURES = frozenset(
    {"timestamp with time zone", "interval", "boolean", "smallint", "integer", "bigint", "double precision"}
)
"""Types of times, counts and flags."""

OBJECT_IDS = re.compile(
    r"id|(brand|campaign|segment|code|notice|consent|chain|job|launch_job|group|parent|started_by|then|on_success|"
    r"role|checkpoint)_id|tenant_key"
)
"""Names of uuid columns that refer to objects without a person. `id` of a table about people is declared there."""

TELLING_NAMES = re.compile(
    r"e?mails?|phone|names?|address|ip|birth\w*|age|sex|gender|lat|lon|latitude|longitude|location|device|"
    r"fingerprint|passwords?|secret|user|person|member|subject"
)
"""Parts of names that suggest personal data in a column of any type."""


def is_exempt(column: str, sql_type: str) -> bool:
    """Return whether a column needs no declaration: by type and name it describes no person by itself.

    Args:
        column: the column's name.
        sql_type: the type as `format_type(atttypid, null)` of PostgreSQL writes it.
    """
    if sql_type == "uuid":
        return OBJECT_IDS.fullmatch(column) is not None
    if sql_type not in MEASURES:
        return False
    is_time = sql_type == "timestamp with time zone"
    return is_time or not any(TELLING_NAMES.fullmatch(part) for part in column.split("_"))


PERSONAL = (
    Table(
        name="app.idempotency_keys",
        purpose="Answer a repeated request as the first one was answered.",
        retention="1 day",
        deleted_by="requests.expire",
        found_by="scope",
        personal=(
            Personal(("scope",), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),
            Personal(("key", "digest", "headers", "body"), Category.CONTENT, Erasure.EXPIRE, Export.INTERNAL),
        ),
    ),
)
