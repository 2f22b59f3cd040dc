"""The system under test, ready for another sign-in."""

from contextlib import closing

import psycopg2
import pytest

from tests.conftest import System


@pytest.fixture(autouse=True)
def fresh_code(request: pytest.FixtureRequest) -> None:
    """As if the present code of the admin's authenticator had not been used: tests don't wait for the next one."""
    if "system" not in request.fixturenames:
        return
    system: System = request.getfixturevalue("system")
    with closing(psycopg2.connect(system.run["database_direct_url"])) as owner, owner, owner.cursor() as cursor:
        cursor.execute("update app.totp_factors set last_step = 0")
