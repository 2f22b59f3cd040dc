"""Declare the personal data of webhooks: none, because payloads hold ids of objects and no personal data."""

from models.core.personal_data import BRAND_CONTENT, FIXED_LIST, NAME_IN_CODE, NotPersonal, Table

_EVENT = "the id of an event"
_PAYLOAD = "ids of objects; the API is asked for the rest"

PERSONAL = (
    Table(
        name="app.webhook_endpoints",
        not_personal=(
            NotPersonal(("url", "description"), BRAND_CONTENT),
            NotPersonal(("event_types", "disabled_reason"), FIXED_LIST),
            NotPersonal(("secret", "previous_secret"), "a secret of the brand's server"),
            NotPersonal(("lease_job",), "the id of a job"),
        ),
    ),
    Table(
        name="app.webhook_outbox",
        deleted_by="webhooks.sweep",
        not_personal=(
            NotPersonal(("endpoint_id",), "the id of an endpoint"),
            NotPersonal(("event_id",), _EVENT),
            NotPersonal(("type",), NAME_IN_CODE),
            NotPersonal(("payload",), _PAYLOAD),
        ),
    ),
    Table(
        name="app.webhook_attempts",
        deleted_by="webhooks.sweep",
        not_personal=(
            NotPersonal(("endpoint_id",), "the id of an endpoint"),
            NotPersonal(("event_id",), _EVENT),
            NotPersonal(("type", "error"), NAME_IN_CODE),
            NotPersonal(("response",), "what the brand's server answered to such ids"),
        ),
    ),
)
