"""Kinds of changes between two documents, and whether each breaks clients."""

from dataclasses import dataclass

BREAKING: dict[str, str] = {
    "path-removed": "the path is gone",
    "operation-removed": "the operation is gone",
    "operation-id-changed": "the operation has another id, and generated clients another method",
    "parameter-removed": "the parameter is refused as unknown",
    "parameter-added-required": "the new parameter is required",
    "parameter-made-required": "the parameter is required now",
    "body-removed": "the request has no body any more",
    "body-added-required": "the request needs a body now",
    "body-made-required": "the body is required now",
    "request-media-removed": "the media type of the body is not accepted any more",
    "success-removed": "the operation does not answer with this status any more",
    "success-added": "the operation may answer with another status of success",
    "response-media-removed": "the answer is not available in the media type any more",
    "response-header-removed": "the answer does not have the header any more",
    "security-added": "callers who were admitted are refused",
    "request-member-removed": "the member is refused as unknown",
    "request-member-added-required": "the new member is required",
    "request-member-made-required": "the member is required now",
    "request-closed": "other members are refused",
    "request-type-narrowed": "a type is not accepted any more",
    "request-constraint-narrowed": "fewer values are accepted",
    "request-value-removed": "a value is not accepted any more",
    "response-member-removed": "the member is gone",
    "response-member-made-optional": "the member may be absent",
    "response-type-widened": "the value may have another type",
    "response-constraint-widened": "more values are possible",
    "response-values-replaced": "none of the former values is possible",
    "response-values-opened": "any value is possible",
}
"""Changes after which a client of the older document may fail, by rule."""

COMPATIBLE: dict[str, str] = {
    "path-added": "new path",
    "operation-added": "new operation",
    "operation-removed-after-sunset": "the operation is gone, as its `Sunset` announced",
    "operation-deprecated": "the operation is deprecated",
    "parameter-added": "new optional parameter",
    "parameter-made-optional": "the parameter is optional now",
    "body-added": "new optional body",
    "body-made-optional": "the body is optional now",
    "request-media-added": "another media type of the body is accepted",
    "error-removed": "the operation does not refuse with this status any more",
    "error-added": "the operation may refuse with another status",
    "response-media-added": "the answer is available in another media type",
    "response-header-added": "new header of the answer",
    "security-removed": "more callers are admitted",
    "request-member-added": "new optional member",
    "request-member-made-optional": "the member is optional now",
    "request-opened": "other members are accepted",
    "request-type-widened": "another type is accepted",
    "request-variant-added": "another kind of object is accepted",
    "request-constraint-widened": "more values are accepted",
    "request-value-added": "another value is accepted",
    "response-member-added": "new member",
    "response-member-made-required": "the member is always present",
    "response-type-narrowed": "the value has fewer types",
    "response-constraint-narrowed": "fewer values are possible",
    "response-value-added": "another value is possible",
    "response-value-removed": "a value is not possible any more",
    "response-variant-added": "another variant is possible, e.g. a problem with another code",
}
"""Changes that every client has to cope with, by rule. docs/versioning.md says so to the authors of clients."""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A change.

    Attributes:
        where: operation and part, e.g. `POST /api/v1/campaigns body: config.geofence.lat`.
        rule: key of `BREAKING` or `COMPATIBLE`.
        detail: the values, if the rule alone does not tell them.
    """

    where: str
    rule: str
    detail: str = ""

    @property
    def is_breaking(self) -> bool:
        """Return whether a client of the older document may fail."""
        return self.rule in BREAKING

    def __str__(self) -> str:
        meaning = BREAKING.get(self.rule) or COMPATIBLE[self.rule]
        return f"{self.where}: {meaning}" + (f" ({self.detail})" if self.detail else "") + f" [{self.rule}]"


def is_allowed(old_version: str, new_version: str) -> bool:
    """Return whether a breaking change may come with this rise of the version.

    From 1.0.0 on, it needs a higher first number. Before, it needs a higher first or second number.
    """
    old, new = _numbers(old_version), _numbers(new_version)
    decisive = 1 if old[0] >= 1 else 2
    return new[:decisive] > old[:decisive]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))
