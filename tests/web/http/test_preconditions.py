"""Test `If-Match`: two callers who have read the same version change it concurrently."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg2
import pytest

from tests.support.blocked import until_blocked

pytestmark = pytest.mark.usefixtures("fresh_limits")

HOLD_USER = "select from users where id = %s for update"
HOLD_BRAND = "select from brands where id = %s for update"


@pytest.fixture
def contested(admin, brand, member):
    """Return, by kind: the URL, the change, the two callers, and the lock to wait for."""
    boss, creator = member(), member("Creator")
    brand_url, user_url = f"/api/v1/brands/{brand['id']}", f"/api/v1/users/{creator.user_id}"
    member_url = f"{brand_url}/members/{creator.user_id}"
    role = {"role": "Campaign Manager"}
    moved = {**role, "brand_id": str(brand["id"])}
    return {
        "profile": ("/api/v1/users/me", ("PATCH", "/api/v1/users/me", {"name": "Ana"}), boss, HOLD_USER, boss.user_id),
        "member": (member_url, ("PATCH", member_url, role), boss, HOLD_BRAND, brand["id"]),
        "user": (user_url, ("PATCH", user_url, moved), admin, HOLD_BRAND, brand["id"]),
        "brand": (brand_url, ("PATCH", brand_url, {"name": "New"}), boss, HOLD_BRAND, brand["id"]),
        "archive": (brand_url, ("PUT", f"{brand_url}/archive", None), admin, HOLD_BRAND, brand["id"]),
    }


@pytest.mark.parametrize("kind", ["profile", "member", "user", "brand", "archive"])
def test_second_of_two_concurrent_changes_returns_412(client, superuser, contested, kind):
    url, (method, target, body), caller, hold, held = contested[kind]
    seen = client.get(url, token=caller.token).headers["ETag"]

    def change(_):
        return client.request(method, target, json=body, token=caller.token, headers={"If-Match": seen}).status_code

    with ThreadPoolExecutor(2) as both, closing(psycopg2.connect(superuser.dsn)) as other, other.cursor() as cursor:
        cursor.execute(hold, (held,))
        changes = [both.submit(change, number) for number in range(2)]
        until_blocked(superuser, transactions=2)
        other.commit()
        assert sorted(one.result() for one in changes) == [200, 412]
