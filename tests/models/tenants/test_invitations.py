"""Test invitations without HTTP: the rows that each condition of the SQL functions selects."""

from datetime import timedelta

import pytest

from models.core import context
from models.core.context import unauthenticated
from models.core.database import new_id, now, transaction
from models.core.errors import NotFound
from models.core.signed_links import LinkInvalid
from models.identity import passwords
from models.identity.accounts import EmailInUse
from models.tenants import brands, invitations, members
from models.tenants.brands import BrandArchived
from models.tenants.invitations import (
    AlreadyInvited,
    AlreadyMember,
    InvitationClosed,
    RoleNotGrantable,
    SentJustNow,
    TooManyInvitations,
)
from tests.fixtures.accounts import PASSWORD

STATES = {"open": {}, "used": {"used_at": "now()"}, "revoked": {"revoked_at": "now() - interval '1 hour'"}}
STATES["expired"] = {"expires_at": "now()"}
"""State of an invitation → the columns that define the state."""


@pytest.fixture
def put(query):
    """`put(brand, email, by=None, role_id=3, **columns)`: an invitation; columns are SQL expressions."""

    def insert(brand_id, email, by=None, role_id=3, **columns):
        values = {"expires_at": "now() + interval '7 days'"} | columns
        id = new_id()
        query(
            f"insert into app.invitations (id, brand_id, email, role_id, invited_by, {', '.join(values)})"
            f" values (%s, %s, %s, %s, %s, {', '.join(values.values())})",
            *(id, brand_id, email, role_id, by and by.user_id),
        )
        return id

    return insert


@pytest.fixture
def mailed(query):
    """`mailed()`: ids of invitations that have a mail job."""
    return lambda: {id for (id,) in query("select args ->> 0 from app.jobs where actor = 'mail.invitation'")}


def invite(account, email, role="Creator", brand_id=None):
    with account.acting():
        return invitations.invite(brand_id or account.brand_id, email, role)


def test_invitation_enqueues_its_mail_as_a_job_of_the_brand(admin, brand, query):
    invitation_id = invite(admin, "new@brand.example", brand_id=brand["id"])

    assert query("select brand_id from app.jobs where actor = 'mail.invitation'") == [(brand["id"],)]
    with transaction(context.for_brand_job(brand["id"])):
        assert invitations.mail(invitation_id) == {
            "email": "new@brand.example",
            "locale": "en",
            "brand": brand["name"],
        }


@pytest.mark.parametrize("state", ["used", "revoked", "expired"])
def test_mail_of_closed_invitation_has_no_contents(brand, put, state):
    closed = put(brand["id"], "a@b.example", **STATES[state])

    with transaction(context.for_brand_job(brand["id"])):
        assert invitations.mail(closed) is None


def test_invitation_is_not_found_by_a_job_of_another_brand(admin, brand, make_brand):
    invitation_id = invite(admin, "new@brand.example", brand_id=brand["id"])

    with transaction(context.for_brand_job(make_brand("Other")["id"])):
        assert invitations.mail(invitation_id) is None


def test_invitations_are_listed_newest_first_and_by_brand(member, make_brand, put):
    boss, other = member(), make_brand("Other")
    made = [put(boss.brand_id, f"{n}@b.example") for n in range(3)]
    foreign = put(other["id"], "x@b.example")

    with boss.acting():
        listed = [one.id for one in invitations.page(boss.brand_id, 3)]
        after = [one.id for one in invitations.page(boss.brand_id, 1, made[2])]
        with pytest.raises(NotFound):
            invitations.get(boss.brand_id, foreign)

    assert listed == made[::-1]
    assert after == [made[1]]


def test_member_of_the_brand_is_not_invited(member, make_brand):
    boss, colleague = member(), member("Campaign Manager")
    stranger = member("Creator", make_brand("Other"))

    with pytest.raises(AlreadyMember):
        invite(boss, colleague.email)
    assert invite(boss, stranger.email)


def test_brand_and_role_of_an_invitation_are_checked(member, make_brand, query):
    boss, manager, other = member(), member("Campaign Manager"), make_brand("Other")

    for account, brand_id in ((boss, other["id"]), (manager, manager.brand_id)):
        with pytest.raises(NotFound):
            invite(account, "new@b.example", brand_id=brand_id)
    for role in ("Fan", "System Admin"):
        with pytest.raises(RoleNotGrantable):
            invite(boss, "new@b.example", role)
    query("insert into public.role_permissions values ('Campaign Manager', 'members:write')")
    try:
        with pytest.raises(RoleNotGrantable):
            invite(manager, "new@b.example", "Brand Admin")
        assert invite(manager, "new@b.example", "Creator")
    finally:
        query("delete from public.role_permissions where role = 'Campaign Manager' and permission = 'members:write'")


def test_invitation_is_sent_again_after_a_minute(member, put):
    boss = member()
    early = put(boss.brand_id, "a@b.example", sent_at="now() - interval '59 seconds'")
    late = put(boss.brand_id, "b@b.example", sent_at="now() - interval '61 seconds'")

    with pytest.raises(SentJustNow), boss.acting():
        invitations.renew(boss.brand_id, early)
    with boss.acting():
        invitations.renew(boss.brand_id, late)
    with pytest.raises(SentJustNow), boss.acting():
        invitations.renew(boss.brand_id, late)


def test_address_with_account_is_reported_to_system_admins_only(admin, member, brand, make_brand, fan, query):
    stranger, person = member("Creator", make_brand("Other")), fan()
    query(
        "update public.users set is_anonymous = false, password_hash = 'x', email = 'fan@b.example' where id = %s",
        person.user_id,
    )

    with pytest.raises(EmailInUse):
        invite(admin, stranger.email, brand_id=brand["id"])
    assert invite(admin, "fan@b.example", brand_id=brand["id"])


def test_daily_limit_counts_invitations_of_the_brand_and_the_day(member, make_brand, put, monkeypatch):
    boss, other = member(), member(brand=make_brand("Other"))
    monkeypatch.setattr(invitations, "MAX_PER_DAY", 4)  # each brand has two already: its first admin and the member
    put(boss.brand_id, "old@b.example", created_at="now() - interval '25 hours'")
    for email in ("a@b.example", "b@b.example"):
        invite(boss, email)

    with pytest.raises(TooManyInvitations):
        invite(boss, "c@b.example")
    assert invite(other, "c@b.example")


def test_expired_invitation_is_replaced_by_a_new_one(member, make_brand, put, query):
    boss, other = member(), make_brand("Other")
    expired = put(boss.brand_id, "new@b.example", **STATES["expired"])
    put(boss.brand_id, "new@b.example", used_at="now()", **STATES["expired"])
    put(boss.brand_id, "new@b.example", **STATES["revoked"], **STATES["expired"])
    put(boss.brand_id, "else@b.example", **STATES["expired"])
    put(other["id"], "new@b.example", **STATES["expired"])
    before = dict(query("select id, revoked_at from app.invitations"))

    new = invite(boss, "new@b.example")
    with pytest.raises(AlreadyInvited):
        invite(boss, "new@b.example")

    after = dict(query("select id, revoked_at from app.invitations"))
    assert {id for id, at in after.items() if at != before.get(id)} == {expired}
    assert after[new] is None


def test_invitation_locks_its_brand_only(member, make_brand, query):
    boss, other = member(), make_brand("Other")
    free = "select id from public.brands for no key update skip locked"

    with boss.acting():
        invitations.invite(boss.brand_id, "new@b.example", "Creator")
        assert query(free) == [(other["id"],)]


def invitations_of(account, brand_id):
    with account.acting():
        return invitations.page(brand_id, 99)


def test_archived_brand_invites_no_one_and_another_brand_does(admin, member, make_brand, brand, put, query):
    archived, boss = make_brand("Archived"), member()
    waiting = put(archived["id"], "old@b.example", sent_at="now() - interval '2 minutes'")
    own = put(brand["id"], "old@b.example", sent_at="now() - interval '2 minutes'")
    with admin.acting():
        brands.archive(archived["id"])

    with pytest.raises(BrandArchived):
        invite(admin, "new@b.example", brand_id=archived["id"])
    with pytest.raises(BrandArchived), admin.acting():
        invitations.renew(archived["id"], waiting)
    assert invite(boss, "new@b.example")
    with boss.acting():
        invitations.renew(brand["id"], own)


def test_mails_to_one_address_are_limited_across_brands_within_an_hour(member, make_brand, put, monkeypatch, mailed):
    monkeypatch.setattr(invitations, "MAX_MAILS_PER_HOUR", 2)
    bosses = [member(brand=make_brand(f"Brand {n}")) for n in range(3)]
    put(bosses[2].brand_id, "old@b.example", sent_at="now() - interval '61 minutes'", mails="2")

    made = [invite(boss, "victim@b.example") for boss in bosses]
    others = [invite(bosses[0], "else@b.example"), invite(bosses[0], "old@b.example")]

    assert mailed() == {str(id) for id in [*made[:2], *others]}


def test_renewal_prolongs_and_counts_mails_of_one_invitation(member, put, query):
    boss = member()
    soon = "now() + interval '1 minute'"
    recent = put(boss.brand_id, "a@b.example", sent_at="now() - interval '59 minutes'", mails="2", expires_at=soon)
    old = put(boss.brand_id, "b@b.example", sent_at="now() - interval '61 minutes'", mails="2", expires_at=soon)
    untouched = put(boss.brand_id, "c@b.example", sent_at="now() - interval '2 minutes'", mails="2", expires_at=soon)

    with boss.acting():
        for id in (recent, old):
            invitations.renew(boss.brand_id, id)

    found = {one.id: one for one in invitations_of(boss, boss.brand_id)}
    assert [found[id].mails for id in (recent, old, untouched)] == [3, 1, 2]
    assert [found[id].expires_at > now() + timedelta(days=7) for id in (recent, old, untouched)] == [True, True, False]


def test_renewal_above_the_limit_of_mails_sends_none(member, put, monkeypatch, mailed):
    monkeypatch.setattr(invitations, "MAX_MAILS_PER_HOUR", 2)
    boss = member()
    full = put(boss.brand_id, "a@b.example", sent_at="now() - interval '2 minutes'", mails="2")
    free = put(boss.brand_id, "b@b.example", sent_at="now() - interval '2 minutes'", mails="1")

    with boss.acting():
        for id in (full, free):
            invitations.renew(boss.brand_id, id)

    assert mailed() == {str(free)}


@pytest.mark.parametrize("state", ["used", "revoked"])
def test_closed_invitation_is_neither_renewed_nor_revoked(member, put, state):
    boss = member()
    closed = put(boss.brand_id, "a@b.example", sent_at="now() - interval '2 minutes'", **STATES[state])

    for act in (invitations.renew, invitations.revoke):
        with pytest.raises(InvitationClosed), boss.acting():
            act(boss.brand_id, closed)


def test_revocation_concerns_one_invitation_of_the_brand(member, make_brand, put):
    boss, other = member(), make_brand("Other")
    revoked, kept = put(boss.brand_id, "a@b.example"), put(boss.brand_id, "b@b.example")
    foreign = put(other["id"], "a@b.example", sent_at="now() - interval '2 minutes'")

    with boss.acting():
        invitations.revoke(boss.brand_id, revoked)
        assert invitations.get(boss.brand_id, kept).status == "open"
        assert invitations.get(boss.brand_id, revoked).status == "revoked"
    for act in (invitations.renew, invitations.revoke):
        with pytest.raises(NotFound), boss.acting():
            act(boss.brand_id, foreign)


def test_only_members_with_the_permission_renew_and_revoke(member, make_brand, put):
    manager, stranger = member("Campaign Manager"), member(brand=make_brand("Other"))
    sent = put(manager.brand_id, "a@b.example", sent_at="now() - interval '2 minutes'")

    for account in (manager, stranger):
        for act in (invitations.renew, invitations.revoke):
            with pytest.raises(NotFound), account.acting():
                act(manager.brand_id, sent)


@pytest.mark.parametrize("role", ["Creator", "Campaign Manager", None])
def test_lost_permission_revokes_open_invitations_of_the_member_only(member, brand, put, query, role):
    boss, sender = member(), member()
    sent = {state: put(brand["id"], f"{state}@b.example", sender, **columns) for state, columns in STATES.items()}
    put(brand["id"], "kept@b.example", boss)
    put(brand["id"], "void@b.example", by=None)
    before = dict(query("select id, revoked_at from app.invitations"))

    with boss.acting():
        if role is None:
            revoked = members.remove(brand["id"], sender.user_id)
        else:
            _, revoked = members.change_role(brand["id"], sender.user_id, role)

    after = dict(query("select id, revoked_at from app.invitations"))
    assert revoked == [sent["open"]]
    assert {id for id, at in after.items() if at != before[id]} == {sent["open"]}


def test_sender_may_invite_while_the_role_includes_the_invited_one(member, brand, put, query):
    boss, sender = member(), member()
    as_creator = put(brand["id"], "creator@b.example", sender, role_id=3)
    as_admin = put(brand["id"], "admin@b.example", sender, role_id=1)
    query("insert into public.role_permissions values ('Campaign Manager', 'members:write')")

    try:
        with boss.acting():
            _, revoked = members.change_role(brand["id"], sender.user_id, "Campaign Manager")
    finally:
        query("delete from public.role_permissions where role = 'Campaign Manager' and permission = 'members:write'")

    assert revoked == [as_admin]
    assert query("select revoked_at from app.invitations where id = %s", as_creator) == [(None,)]


def accept(invitation_id):
    with transaction(unauthenticated().on_credentials()):
        return invitations.accept(invitation_id, passwords.hash(PASSWORD), None, "en")


def test_acceptance_creates_the_member_of_one_invitation(member, make_brand, put, query):
    boss = member()
    accepted, other = put(boss.brand_id, "a@b.example", boss), put(make_brand("Other")["id"], "a@b.example", boss)

    assert accept(accepted) == "a@b.example"

    assert query("select id from app.invitations where used_at is null and id = any (%s)", [accepted, other]) == [
        (other,)
    ]
    assert query("select brand_id, role_id from public.users where email = 'a@b.example'") == [(boss.brand_id, 3)]


@pytest.mark.parametrize("state", ["used", "revoked", "expired"])
def test_closed_invitation_is_not_accepted(member, put, state):
    boss = member()
    closed = put(boss.brand_id, "a@b.example", boss, **STATES[state])

    with pytest.raises(LinkInvalid):
        accept(closed)
    with pytest.raises(LinkInvalid), transaction(unauthenticated().on_credentials()):
        invitations.owner(closed)


def test_invitation_into_archived_brand_is_not_accepted(admin, member, make_brand, put):
    archived = make_brand("Archived")
    closed, open_ = put(archived["id"], "a@b.example", admin), put(member().brand_id, "b@b.example", admin)
    with admin.acting():
        brands.archive(archived["id"])

    with pytest.raises(LinkInvalid):
        accept(closed)
    assert accept(open_) == "b@b.example"


@pytest.mark.parametrize("reason", ["suspended", "moved", "deleted"])
def test_invitation_of_sender_who_may_not_invite_is_not_accepted(member, make_brand, put, query, reason):
    sender, boss = member(), member()
    sent, kept = put(sender.brand_id, "a@b.example", sender), put(boss.brand_id, "b@b.example", boss)
    change = {
        "suspended": "update public.users set suspended_at = now() where id = %s",
        "moved": f"update public.users set brand_id = '{make_brand('Other')['id']}' where id = %s",
        "deleted": "delete from public.users where id = %s",
    }
    query(change[reason], sender.user_id)

    with pytest.raises(LinkInvalid):
        accept(sent)
    assert accept(kept) == "b@b.example"


def test_fan_accepts_an_invitation_to_the_own_address_only(member, fan, put, query):
    boss, person = member(), fan()
    query(
        "update public.users set is_anonymous = false, password_hash = 'x', email = 'fan@b.example' where id = %s",
        person.user_id,
    )
    foreign, own = put(boss.brand_id, "other@b.example", boss), put(boss.brand_id, "fan@b.example", boss)
    identity = person.identity.on_credentials()

    with pytest.raises(LinkInvalid), transaction(identity):
        invitations.accept_as_fan(foreign)
    with transaction(identity):
        assert invitations.accept_as_fan(own) == boss.brand_id

    assert query("select brand_id from public.users where id = %s", person.user_id) == [(boss.brand_id,)]
    with pytest.raises(AlreadyMember), transaction(boss.identity.on_credentials()):
        invitations.accept_as_fan(foreign)
