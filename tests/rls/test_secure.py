"""`app.secure` refuses rights that no caller could use: such a table would answer every request with 403."""

import psycopg2
import pytest

from tests.rls.shapes import Shape

TABLE = "create table public.notes (id uuid primary key, brand_id uuid not null); call app.secure('public.notes'{});"


@pytest.mark.parametrize(
    ("rights", "text"),
    [
        (
            "",
            r"app\.secure\('public\.notes'\): no role may read or change the table: name roles .*p_definer_only",
        ),
        (', p_member => \'{"select": "notes:raed"}\'', r"the permission 'notes:raed' does not exist: insert it into"),
        (", p_job => 'select', p_definer_only => true", r"p_definer_only => true contradicts the named roles"),
    ],
    ids=["no role", "unknown permission", "contradiction"],
)
def test_secure_with_rights_of_nobody_is_refused(rights: str, text: str, bare: Shape) -> None:
    with bare.undone() as cur, pytest.raises(psycopg2.errors.RaiseException, match=text):
        cur.execute(TABLE.format(rights))


@pytest.mark.parametrize(
    "rights", ["p_definer_only => true", "p_job => 'select'", 'p_member => \'{"select": "jobs:read"}\'']
)
def test_secure_with_rights_of_somebody_is_accepted(rights: str, bare: Shape) -> None:
    with bare.undone() as cur:
        cur.execute(TABLE.format(f", {rights}"))
