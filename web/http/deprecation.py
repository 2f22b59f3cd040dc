"""Headers of deprecated endpoints: `Deprecation` (RFC 9745), `Sunset` (RFC 8594) and `Link`."""

from datetime import UTC, date, datetime
from email.utils import format_datetime

from web.http.endpoint_spec import EndpointSpec


def deprecation_headers(declared: EndpointSpec) -> dict[str, str]:
    """Return the headers of an endpoint's answers, also of its refusals; none if it is not deprecated."""
    if declared.deprecated_since is None:
        return {}
    headers = {"Deprecation": f"@{int(_midnight(declared.deprecated_since).timestamp())}"}
    if declared.sunset:
        headers["Sunset"] = format_datetime(_midnight(declared.sunset), usegmt=True)
    if declared.successor:
        headers["Link"] = f'<{declared.successor}>; rel="successor-version"'
    return headers


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
