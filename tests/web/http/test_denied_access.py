"""Test that a missing grant is logged with the table, the role and what to do, and that the caller learns neither."""

import logging

from models.core.context import unauthenticated
from models.core.database import rows, transaction
from web.http.endpoint import endpoint


class Secrets:
    """Resource that reads a table which its role may not read."""

    @endpoint(permission="public", outward=True)
    def on_get(self, req, resp):
        """Read the table."""
        with transaction(unauthenticated()):
            rows("select id from public.campaigns")


def test_denied_access_logs_table_role_and_what_to_do(serve, db_clean, caplog):
    with caplog.at_level(logging.WARNING):
        answer = serve({"/secrets": Secrets()}).get("/secrets")

    assert answer.status_code == 403
    assert "campaigns" not in answer.text
    (logged,) = [record.getMessage() for record in caplog.records if "42501" in record.getMessage()]
    assert logged.startswith("database: 42501 as app_public: permission denied for table campaigns.")
    assert "grant it with app.secure or app.grant_definer in a migration (docs/tenancy.md)" in logged
