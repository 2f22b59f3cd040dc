"""Explanations: why a contact is a member of a segment, or why not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET

from models.audiences import compiler, contacts, dsl, membership_history, segments
from models.audiences.contacts import ContactMerged
from models.audiences.dsl import Condition
from models.audiences.segments import AudienceSegment
from models.core.database import row
from models.core.enumerations import enumeration

NodeKind = Annotated[
    Literal["all", "any", "not", "profile", "trait", "event", "consent", "geo", "campaign", "segment"],
    enumeration(
        "SegmentNodeKind",
        "Kind of a node of a definition. `all`, `any` and `not` combine the nodes below them. The others are leaves.",
    ),
]
"""The members of `dsl.Condition`; a test compares the two."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the definition and its value for the contact.

    Attributes:
        path: path of the node, e.g. `definition.all[0]`.
        kind: the only member of the node.
        holds: whether the contact fulfils it.
        since: time since when a leaf has this value; None for inner nodes, and where the data doesn't show it.
    """

    path: str
    kind: NodeKind
    holds: bool
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The stored membership of a contact in a segment, and the value of the definition for the contact now.

    Attributes:
        member_since: time at which the contact entered; None if it is no member.
        left_at: time at which it left; None if it is a member, or never was one.
        holds: whether the contact fulfils the definition now. A member follows within a second.
        nodes: all nodes in the order of the definition, the outermost first.
        as_of: present time of the definition's windows.
    """

    member_since: datetime | None
    left_at: datetime | None
    holds: bool
    nodes: Sequence[Node]
    as_of: datetime


def explain(segment: AudienceSegment, contact_id: UUID) -> Explanation:
    """Explain the membership of a contact of the caller's brand in a segment.

    Raises:
        NotFound: the brand has no such contact.
        ContactMerged: another contact has taken it in.
        Invalid: the definition can no longer be evaluated; carries the path of each leaf that is wrong.
    """
    contact = contacts.get(contact_id)
    if contact.merged_into is not None:
        raise ContactMerged(contact_id=contact.merged_into)
    definition = segments.definition_of(segment.id)
    context = segments.context_of(definition, segment.brand_id, segment_id=segment.id, contacts=[contact_id])
    compiled = compiler.compile(definition, context)
    leaves = [
        f"{expression} AS l{number}, {since} AS s{number}"
        for number, ((_, expression), since) in enumerate(zip(compiled.leaves, compiled.since, strict=True))
    ]
    columns = ", ".join([f"{compiled.condition} AS holds", *leaves])
    found = row(f"SELECT {columns} {compiled.source}", compiled.arguments)
    assert found is not None
    values = {
        path.rpartition(".")[0]: (found[f"l{number}"], found[f"s{number}"])
        for number, (path, _) in enumerate(compiled.leaves)
    }
    member_since, left_at = membership_history.last_membership(segment.id, contact_id)
    return Explanation(
        member_since=member_since,
        left_at=left_at,
        holds=found["holds"],
        nodes=[_node(path, node, values) for path, node in dsl.walk(definition)],
        as_of=context.as_of,
    )


def _node(path: str, node: Condition, values: Mapping[str, tuple[bool, datetime | None]]) -> Node:
    kind: NodeKind = node.present()[0]  # type: ignore[assignment]
    return Node(path, kind, _holds(path, node, values), values[path][1] if path in values else None)


def _holds(path: str, node: Condition, values: Mapping[str, tuple[bool, datetime | None]]) -> bool:
    children = [_holds(path + step, child, values) for step, child in node.children()]
    if not children:
        return values[path][0]
    if node.not_of is not UNSET:
        return not children[0]
    return all(children) if node.all_of is not UNSET else any(children)
