"""Test members without HTTP: the rows that each condition of the SQL functions selects."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from models.core import context
from models.core.database import close_thread_connections, execute, new_id, transaction
from models.core.errors import Forbidden, NotFound, TooMany
from models.identity import users
from models.tenants import assignments, members
from models.tenants.invitations import RoleNotGrantable
from models.tenants.members import LastBrandAdmin
from tests.support.blocked import until_blocked


@pytest.fixture
def enrol(query):
    """`enrol(account, confirmed=True)`: give an account an authenticator."""

    def make(account, *, confirmed=True):
        query(
            "insert into app.totp_factors (id, user_id, secret, key_version, confirmed_at)"
            " values (%s, %s, '\\x00', 1, case when %s then now() end)",
            new_id(),
            account.user_id,
            confirmed,
        )

    return make


@pytest.fixture
def suspend(query):
    """`suspend(account)`: suspend an account, as a system admin does."""
    return lambda account: query("update public.users set suspended_at = now() where id = %s", account.user_id)


@pytest.fixture
def managers_may_invite(query, db_clean):
    """Give Campaign Managers the permission `members:write`."""
    query("insert into public.role_permissions values ('Campaign Manager', 'members:write')")
    yield
    query("delete from public.role_permissions where role = 'Campaign Manager' and permission = 'members:write'")


@contextmanager
def refused(error, account):
    with pytest.raises(error), account.acting():
        yield


def test_last_brand_admin_counts_active_admins_of_own_brand(member, make_brand, query, suspend):
    own, other = make_brand("Own"), make_brand("Other")
    boss, second = member("Brand Admin", own), member("Brand Admin", own)
    member("Campaign Manager", own)
    member("Brand Admin", other)
    suspend(second)

    with refused(LastBrandAdmin, boss):
        members.change_role(own["id"], boss.user_id, "Creator")
    with refused(LastBrandAdmin, boss):
        members.remove(own["id"], boss.user_id)

    query("update public.users set suspended_at = null where id = %s", second.user_id)
    with boss.acting():
        assert members.change_role(own["id"], boss.user_id, "Creator")[0].role == "Creator"


def test_last_brand_admin_may_be_given_the_same_role(member, brand):
    boss = member()

    with boss.acting():
        assert members.change_role(brand["id"], boss.user_id, "Brand Admin")[0].role == "Brand Admin"


def test_concurrent_demotions_leave_one_admin(member, brand, superuser):
    first, second = member(), member()

    def demote(account):
        try:
            with account.acting():
                members.change_role(brand["id"], account.user_id, "Creator")
        finally:
            close_thread_connections()

    with ThreadPoolExecutor(1) as pool:
        with first.acting():
            members.change_role(brand["id"], first.user_id, "Creator")
            waiting = pool.submit(demote, second)
            until_blocked(superuser)
        with pytest.raises(LastBrandAdmin):
            waiting.result(60)


def test_member_without_the_permission_changes_no_member(member, brand):
    manager, creator = member("Campaign Manager"), member("Creator")

    for attempt in (
        lambda: members.get_for_update(brand["id"], creator.user_id),
        lambda: members.change_role(brand["id"], creator.user_id, "Creator"),
        lambda: members.remove(brand["id"], creator.user_id),
    ):
        with refused(NotFound, manager):
            attempt()


def test_move_to_another_brand_ends_the_undo_of_an_address_change(member, make_brand, brand, admin, query):
    """The undo link of an old address must not reach an account that belongs to another brand by now."""
    promoted, moved, removed, untouched = (member("Creator") for _ in range(4))
    for account in (promoted, moved, removed, untouched):
        query(
            "insert into app.email_changes"
            " (id, user_id, old_email, new_email, expires_at, confirmed_at, undo_until, audited)"
            " values (%s, %s, 'old@b.example', 'new@b.example', now(), now(), now() + interval '1 day', '{}')",
            new_id(),
            account.user_id,
        )

    other = make_brand("Other")

    with admin.acting():
        users.change_role(promoted.user_id, "Campaign Manager", brand["id"])
        users.change_role(moved.user_id, "Creator", other["id"])
        users.change_role(removed.user_id, "Fan", None)

    ended = query("select user_id from app.email_changes where undo_until <= now()")
    assert ended == [(moved.user_id,)]


def test_demotion_of_the_last_admin_is_refused(member, brand):
    first, second = member(), member()

    with first.acting():
        members.change_role(brand["id"], first.user_id, "Creator")
    with refused(LastBrandAdmin, second):
        members.change_role(brand["id"], second.user_id, "Creator")


def test_change_of_role_leaves_other_members_as_they_are(member, brand, campaign, assign):
    boss, promoted, kept, same = member(), member("Creator"), member("Creator"), member("Creator")
    summer = campaign()
    for creator in (promoted, kept, same):
        assign(summer, creator)

    with boss.acting():
        members.change_role(brand["id"], promoted.user_id, "Campaign Manager")
        members.change_role(brand["id"], same.user_id, "Creator")
        roles = {member.id: member.role for member in members.page(brand["id"], 9)}
        assigned = [assignment.user_id for assignment in assignments.page(summer.id, 9)]

    assert (roles[promoted.user_id], roles[kept.user_id]) == ("Campaign Manager", "Creator")
    assert assigned == [kept.user_id, same.user_id]


def test_move_to_another_brand_deletes_assignments_of_the_member(
    member, make_brand, brand, campaign, assign, admin, query
):
    moved, kept, elsewhere = member("Creator"), member("Creator"), make_brand("Elsewhere")
    summer = campaign()
    for creator in (moved, kept):
        assign(summer, creator)

    with admin.acting():
        users.change_role(moved.user_id, "Creator", elsewhere["id"])

    assert query("select user_id from public.campaign_assignments") == [(kept.user_id,)]
    assert query("select brand_id from public.users where id = %s", moved.user_id) == [(elsewhere["id"],)]


def test_removal_ends_the_sessions_of_the_member_only(member, brand, query):
    boss, removed, kept = member(), member("Creator"), member("Creator")

    with boss.acting():
        members.remove(brand["id"], removed.user_id)
        assert [member.id for member in members.page(brand["id"], 9)] == [boss.user_id, kept.user_id]

    live = query(
        "select user_id from app.sessions where revoked_at is null and user_id = any (%s)", _ids(removed, kept)
    )
    assert live == [(kept.user_id,)]


def _ids(*accounts):
    return [account.user_id for account in accounts]


def test_member_of_another_brand_is_not_found(member, make_brand, brand):
    boss, stranger = member(), member("Creator", make_brand("Other"))

    for attempt in (
        lambda: members.get(brand["id"], stranger.user_id),
        lambda: members.get_for_update(brand["id"], stranger.user_id),
        lambda: members.change_role(brand["id"], stranger.user_id, "Creator"),
        lambda: members.remove(brand["id"], stranger.user_id),
        lambda: members.page(stranger.brand_id, 9),
        lambda: members.get_for_update(stranger.brand_id, stranger.user_id),
        # The rows of another brand's member are not even locked.
        lambda: execute("SELECT app.lock_member(%s, %s)", (brand["id"], stranger.user_id)),
    ):
        with refused(NotFound, boss):
            attempt()


@pytest.mark.parametrize("role", ["Fan", "System Admin"])
def test_roles_outside_of_brands_are_not_granted(member, brand, admin, role):
    boss, creator = member(), member("Creator")

    for account in (boss, admin):
        with refused(RoleNotGrantable, account):
            members.change_role(brand["id"], creator.user_id, role)


@pytest.mark.usefixtures("managers_may_invite")
def test_role_with_more_permissions_than_the_callers_is_not_granted(member, brand, admin):
    manager, creator = member("Campaign Manager"), member("Creator")

    with refused(RoleNotGrantable, manager):
        members.change_role(brand["id"], creator.user_id, "Brand Admin")
    with manager.acting():
        assert members.change_role(brand["id"], creator.user_id, "Campaign Manager")[0].role == "Campaign Manager"
    with admin.acting():
        assert members.change_role(brand["id"], creator.user_id, "Brand Admin")[0].role == "Brand Admin"


def test_system_admin_without_the_permission_is_refused(admin, brand, query):
    removed = "role = 'System Admin' and permission = 'members:read'"
    query(f"delete from public.role_permissions where {removed}")
    try:
        with refused(Forbidden, admin):
            members.page(brand["id"], 9)
    finally:
        query("insert into public.role_permissions values ('System Admin', 'members:read')")


def test_get_for_update_locks_the_member_and_the_brand_only(member, make_brand, brand, query):
    boss, creator, bystander = member(), member("Creator"), member("Creator")
    other = make_brand("Other")

    def is_locked(table, id):
        free = query(f"select id from public.{table} where id = %s for no key update skip locked", id)
        return free == []

    with boss.acting():
        assert members.get_for_update(brand["id"], creator.user_id).id == creator.user_id
        locked = [
            is_locked("users", creator.user_id),
            is_locked("brands", brand["id"]),
            is_locked("users", bystander.user_id),
            is_locked("brands", other["id"]),
        ]

    assert locked == [True, True, False, False]


def test_members_are_listed_by_id_with_their_own_authenticator(member, make_brand, brand, enrol, query):
    boss, enrolled, began, external = (member(), *(member("Creator") for _ in range(3)))
    stranger = member("Creator", make_brand("Other"))
    enrol(enrolled)
    enrol(began, confirmed=False)
    enrol(stranger)
    query("update public.users set identity_provider = 'supabase' where id = %s", external.user_id)

    with boss.acting():
        listed = members.page(brand["id"], 9)
        first = members.page(brand["id"], 2)
        rest = members.page(brand["id"], 9, first[-1].id)

    assert [member.id for member in listed] == _ids(boss, enrolled, began, external)
    assert [member.has_mfa for member in listed] == [False, True, False, None]
    assert [*first, *rest] == listed


@pytest.fixture
def require_mfa(query):
    """`require_mfa(brand)`: have a brand require MFA from now on."""
    return lambda brand: query("update public.brands set mfa_required_from = now() where id = %s", brand["id"])


def test_members_to_enrol_can_sign_in_and_lack_an_authenticator(
    member, make_brand, brand, enrol, suspend, require_mfa, query
):
    lacking, began, enrolled, suspended, unreachable = (member("Creator") for _ in range(5))
    other = make_brand("Other")
    member("Creator", other)
    enrol(began, confirmed=False)
    enrol(enrolled)
    suspend(suspended)
    query("update public.users set email = null, identity_provider = 'supabase' where id = %s", unreachable.user_id)

    with transaction(context.for_brand_job(brand["id"])):
        assert members.to_enrol() == []
    for one in (brand, other):
        require_mfa(one)

    with transaction(context.for_brand_job(brand["id"])):
        assert members.to_enrol() == _ids(lacking, began)
        mails = [members.mfa_mail(account.user_id) for account in (lacking, enrolled, suspended)]
    assert [mail and mail["email"] for mail in mails] == [lacking.email, None, None]


def test_unknown_brand_is_not_found_by_system_admins(admin, brand):
    with refused(NotFound, admin):
        members.page(new_id(), 9)


def test_mfa_notifications_are_limited_for_each_brand(member, make_brand, brand, query, monkeypatch):
    monkeypatch.setattr(members, "MAX_ANNOUNCEMENTS_PER_DAY", 2)
    boss, stranger = member(), member(brand=make_brand("Other"))

    for _ in range(2):
        with boss.acting():
            members.announce_mfa(brand["id"])
    with pytest.raises(TooMany) as limited, boss.acting():
        members.announce_mfa(brand["id"])
    with refused(NotFound, stranger):
        members.announce_mfa(brand["id"])
    with stranger.acting():
        members.announce_mfa(stranger.brand_id)

    assert 0 < int(limited.value.headers["Retry-After"]) <= 86_400
    jobs = query("select brand_id from app.jobs where actor = 'brand.announce_mfa' order by id")
    assert jobs == [(brand["id"],), (brand["id"],), (stranger.brand_id,)]
