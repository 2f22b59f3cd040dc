"""MediaID over both implementations: identities, links, traits and their deletion."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs.passport.contract import ServiceKeyReused, ServiceRefused
from jobs.passport.services.mediaid import mediaid
from jobs.passport.services.mediaid.contract import Forget, GetTraits, Link, PutTraits, Resolve, Subject, Trait
from tests.jobs.passport.conftest import AsJob

COUNTERPART = "mediaid"
AT = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("implementation", "db_clean")
_keys = count(1)


@pytest.fixture(autouse=True)
def job(as_job: AsJob) -> Iterator[Any]:
    with as_job() as running:
        yield running


def key() -> str:
    return f"test-{next(_keys)}-{uuid4()}"


def person(kind: Any = "anonymous", id: UUID | None = None) -> Subject:
    return Subject(kind=kind, id=id or uuid4())


def identity(subject: Subject) -> UUID:
    return mediaid().resolve(Resolve(subject=subject), key=key()).media_id


def put(subject: Subject, later: float = 0, **traits: str) -> None:
    observed = [Trait(name=name, value=text, observed_at=AT + timedelta(hours=later)) for name, text in traits.items()]
    mediaid().put_traits(PutTraits(subject=subject, traits=observed), key=key())


def known(subject: Subject) -> dict[str, str]:
    return {one.name: one.value for one in mediaid().traits(GetTraits(subject=subject), key=key()).traits}


def link(anonymous: Subject, account: Subject) -> UUID:
    return mediaid().link(Link(anonymous=anonymous.id, account=account.id), key=key()).media_id


def test_person_keeps_the_identity_and_others_get_their_own() -> None:
    ana = person()

    assert identity(ana) == identity(ana)
    assert len({identity(ana), identity(person()), identity(person("account", ana.id))}) == 3


def test_linked_people_share_identity_and_traits_also_when_linked_twice() -> None:
    fan, account = person(), person("account")
    put(fan, language="es")

    first, second = link(fan, account), link(fan, account)

    assert first == second == identity(fan) == identity(account)
    assert known(account) == known(fan) == {"language": "es"}


def test_link_to_account_with_identity_keeps_it_and_the_newer_traits() -> None:
    fan, account = person(), person("account")
    kept = identity(account)
    put(fan, later=1, language="es", region="MX")
    put(fan, later=-1, team="a")
    put(account, language="en", team="b", colour="red")
    put(account, later=2, region="ES")

    assert link(fan, account) == kept
    assert known(fan) == {"colour": "red", "language": "es", "region": "ES", "team": "b"}


def test_link_with_observations_of_one_time_keeps_the_account_s() -> None:
    fan, account = person(), person("account")
    put(fan, language="es")
    put(account, language="en")

    link(fan, account)

    assert known(fan) == {"language": "en"}


def test_link_to_second_account_is_refused() -> None:
    fan, account, other = person(), person("account"), person("account")
    link(fan, account)

    with pytest.raises(ServiceRefused) as refused:
        link(fan, other)

    assert refused.value.code == "already_linked"
    assert identity(fan) == identity(account) != identity(other)


def test_two_anonymous_people_can_be_linked_to_one_account() -> None:
    account, fans = person("account"), [person(), person()]

    assert {link(fan, account) for fan in fans} == {identity(account)}


def test_older_observation_does_not_replace_a_newer_one() -> None:
    ana = person()
    put(ana, later=1, language="es")

    put(ana, language="en", region="MX")

    assert known(ana) == {"language": "es", "region": "MX"}


def test_unknown_person_has_no_traits() -> None:
    assert known(person()) == {}


def test_forgotten_identity_loses_traits_and_linked_people() -> None:
    fan, account = person(), person("account")
    put(fan, language="es")
    old = link(fan, account)

    forgotten = mediaid().forget(Forget(subject=account), key=key())

    assert forgotten.subjects == 2
    assert mediaid().forget(Forget(subject=person()), key=key()).subjects == 0
    assert (known(fan), known(account)) == ({}, {})
    assert old not in (identity(fan), identity(account))


def test_repeated_key_of_link_has_one_answer_and_other_request_is_refused() -> None:
    fan, account, one = person(), person("account"), key()
    request = Link(anonymous=fan.id, account=account.id)

    first = mediaid().link(request, key=one)
    again = mediaid().link(request, key=one)
    with pytest.raises(ServiceKeyReused):
        mediaid().link(Link(anonymous=fan.id, account=uuid4()), key=one)

    assert first == again
