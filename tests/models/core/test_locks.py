"""Advisory locks by purpose and keys."""

from uuid import uuid4

import pytest

from models.core import context, locks
from models.core.database import transaction

pytestmark = pytest.mark.usefixtures("db_clean")


@pytest.fixture
def is_free(superuser):
    """`is_free(name)`: whether another transaction could acquire the lock of that name."""

    def ask(name):
        with superuser.cursor() as cursor:
            cursor.execute("select pg_try_advisory_xact_lock(hashtextextended(%s, 0))", (name,))
            return cursor.fetchone()[0]

    return ask


def test_lock_is_held_for_its_purpose_and_keys_only(is_free):
    first, second, other = uuid4(), uuid4(), uuid4()

    with transaction(context.for_brand_job(uuid4())):
        locks.acquire("engagement", first, second)
        names = (f"engagement:{first}:{second}", f"engagement:{first}:{other}", f"engagement:{other}:{second}")
        held = [is_free(name) for name in (*names, f"contact:{first}:{second}")]

    assert held == [False, True, True, True]


def test_lock_is_released_with_the_transaction(is_free):
    key = uuid4()

    with transaction(context.for_brand_job(uuid4())):
        locks.acquire("contact", key)

    assert is_free(f"contact:{key}")
