"""JSON Merge Patch (RFC 7396): a body that holds the members to change, and null for those to remove."""

from typing import Any


def merge(target: Any, patch: Any) -> Any:
    """Return `target` with a patch applied, as section 2 of the RFC says. Neither is changed.

    Args:
        target: the present value.
        patch: members of objects replace those of the target, null removes them, other values replace the target.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
