"""Seed callers of every role, two brands, and records of each.

The seed is built once per test module. No function here needs an empty database.
"""

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import msgspec
from psycopg2 import sql
from psycopg2.extensions import connection
from psycopg2.extras import Json

from models.assets import assets
from models.audiences import engagement_events, engagements
from models.audiences.transfer import imports
from models.audiences.transfer.cleaning import Conventions
from models.audit import trail
from models.campaigns import campaigns, codes, launch, reward_codes
from models.campaigns.campaigns import Campaign
from models.campaigns.config import Config
from models.consents import consents, notices
from models.core import context, signed_links
from models.core.context import FAN, SYSTEM_ADMIN, Identity
from models.core.database import execute, new_id, now, transaction, value
from models.identity import (
    access_tokens,
    accounts,
    api_keys,
    credentials,
    mfa,
    passwords,
    sessions,
    signups,
    system_admin,
    totp,
)
from models.identity.sessions import Session
from models.jobs import dead_letters, ledger
from models.notifications import notifications
from models.tenants import assignments, brands, invitations
from models.webhooks import endpoints
from models.webhooks.endpoints import Definition
from tests.contract import crm, events
from tests.fixtures.accounts import TOTP_SECRET, sign_in_admin

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "quite another horse"
UNAUTHENTICATED = "unauthenticated"
ANONYMOUS = "anonymous fan"
MEMBERS = ("Brand Admin", "Campaign Manager", "Creator")
CALLERS = (UNAUTHENTICATED, ANONYMOUS, FAN, *MEMBERS, SYSTEM_ADMIN)

_lines = count(41)
"""Lines of code: dead letters of one line have one cause."""

_hash = cache(lambda password=PASSWORD: passwords.hash(password))


@dataclass(frozen=True)
class Caller:
    """A caller; without a token, an unauthenticated one."""

    token: str | None = None
    email: str | None = None

    @property
    def identity(self) -> Identity:
        """Return the identity of the caller's transactions."""
        return context.of_claims(access_tokens.verify(self.token)) if self.token else context.unauthenticated()


@dataclass
class Seed:
    """All callers and their records.

    `own` and `foreign` are ids by the name of the path parameter, `strangers` the other brand's people by role.
    """

    superuser: connection
    callers: dict[str, Caller] = field(default_factory=dict)
    brand_id: UUID = field(default_factory=uuid4)
    live: Campaign | None = None
    own: dict[str, UUID] = field(default_factory=dict)
    foreign: dict[str, UUID] = field(default_factory=dict)
    strangers: dict[str, Caller] = field(default_factory=dict)

    def anonymous(self, *tiers: str) -> Caller:
        """Create an anonymous fan with consent to these tiers."""
        with transaction(context.unauthenticated().on_credentials()):
            caller = _caller(sessions.sign_in_anonymously())
        if tiers:
            with transaction(caller.identity):
                consents.set_tiers(tiers, source="test")
        return caller

    def again(self, role: str) -> Caller:
        """Return a caller of a role with a new session."""
        if role == SYSTEM_ADMIN:
            return self.admin()
        known = self.callers[role]
        return _signed_in(known.email) if known.email else self.anonymous() if known.token else known

    def admin(self) -> Caller:
        """Create a system admin with a session of two factors."""
        email = address()
        system_admin.ensure_system_admin(email, PASSWORD, TOTP_SECRET)
        return Caller(sign_in_admin(self.superuser, email, PASSWORD).token, email)

    def owing(self) -> Caller:
        """Create a system admin with a session of the password only."""
        email = address()
        system_admin.ensure_system_admin(email, PASSWORD, TOTP_SECRET)
        return _signed_in(email)

    def engagement(self, wanted: tuple[str, ...]) -> dict[str, Any]:
        """Create a campaign with a check-in of the fan, and return these properties of the event."""
        campaign, fan = self.draft(), self.callers[FAN].identity
        event = {"campaign_id": campaign.id, "kind": "check_in"}
        with transaction(context.for_brand_job(campaign.brand_id)):
            engagement_events.record(
                **event, brand_id=campaign.brand_id, user_id=fan.user_id, source_id=uuid4(), occurred_at=now()
            )
            engagements.fold(campaign.id)
        return {name: event[name] for name in wanted}

    def code(self) -> str:
        """Return the current code of the authenticator that all accounts share."""
        return totp.code(TOTP_SECRET)

    def enrolling(self) -> Caller:
        """Create a fan with an unconfirmed authenticator of `TOTP_SECRET`."""
        caller = _fan(self)
        assert caller.identity.user_id is not None
        sealed = totp.encrypt(TOTP_SECRET, caller.identity.user_id)
        with transaction(caller.identity.on_credentials()):
            execute("SELECT app.enrol_totp(%s, %s, %s)", (uuid4(), sealed.secret, sealed.key_version))
        return caller

    def enrolled(self) -> Caller:
        """Create a fan with an authenticator."""
        caller = self.enrolling()
        raised, _ = mfa.confirm(caller.identity.on_credentials(), totp.code(TOTP_SECRET))
        return Caller(raised.access_token, caller.email)

    def changing(self) -> Caller:
        """Create a fan with a new password."""
        return _fan(self, OTHER_PASSWORD)

    def reset_token(self) -> str:
        """Return the token of a password-reset link."""
        caller = _fan(self)
        with transaction(context.unauthenticated().on_credentials()):
            credentials.request_password_reset(caller.email or "")
        return signed_links.make(credentials.RESET, self._newest("password_resets", caller))

    def change_token(self, *, confirmed: bool) -> str:
        """Return the token of a link that confirms or undoes an address change."""
        caller = _fan(self)
        with transaction(caller.identity.on_credentials()):
            credentials.request_email_change(caller.identity, address())
        id = self._newest("email_changes", caller)
        token = signed_links.make(credentials.CONFIRM, id)
        if not confirmed:
            return token
        with transaction(context.unauthenticated().on_credentials()):
            credentials.confirm_email_change(token)
        return signed_links.make(credentials.UNDO_CHANGE, id)

    def _newest(self, table: str, caller: Caller) -> UUID:
        with self.superuser.cursor() as cursor:
            query = sql.SQL("select id from {} where user_id = %s").format(sql.Identifier("app", table))
            cursor.execute(query, (caller.identity.user_id,))
            return UUID(str((cursor.fetchone() or (None,))[0]))

    def refresh_token(self) -> str:
        """Return the refresh token of a new session."""
        with transaction(context.unauthenticated().on_credentials()):
            return sessions.sign_in_anonymously().refresh_token

    def invitation(self, email: str | None = None) -> UUID:
        """Create an invitation to the brand."""
        with self.superuser.cursor() as cursor:  # tests exceed the daily limit of invitations
            cursor.execute("update app.invitations set created_at = created_at - interval '2 days'")
        with transaction(self.callers[SYSTEM_ADMIN].identity):
            return invitations.invite(self.brand_id, email or address(), "Creator")

    def newcomer(self) -> Caller:
        """Create a fan with an account."""
        return _fan(self)

    def member(self, role: str = "Creator") -> UUID:
        """Create a member of the brand who never signs in."""
        email = address()
        with transaction(self.callers[SYSTEM_ADMIN].identity):
            invitation_id = invitations.invite(self.brand_id, email, role)
        with transaction(context.unauthenticated().on_credentials()):
            invitations.accept(invitation_id, _hash(), None, "en")
        with self.superuser.cursor() as cursor:
            cursor.execute("select id from public.users where email = %s", (email,))
            return UUID(str((cursor.fetchone() or (None,))[0]))

    def api_key(self, *scopes: str) -> tuple[UUID, str]:
        """Create an API key of the brand and return it with its text."""
        return _api_key(self.callers["Brand Admin"], *scopes or ("campaigns:read",))

    def brand_admin(self) -> Caller:
        """Create a Brand Admin of a new brand."""
        return _brand(self.callers[SYSTEM_ADMIN])[1]["Brand Admin"]

    def notification(self) -> UUID:
        """Notify the members of the brand, and return the notification of the Campaign Manager."""
        return _notification(self.brand_id, self.callers["Campaign Manager"])

    def asset(self) -> UUID:
        """Create an asset that awaits its file."""
        return _asset(self.callers["Campaign Manager"])

    def table(self) -> UUID:
        """Create a checked asset that can be imported."""
        return _table(self.callers["Campaign Manager"], self.superuser)

    def an_import(self) -> UUID:
        """Create an import that waits for its job."""
        return _import(self.callers["Campaign Manager"], self.superuser)

    def a_segment(self) -> UUID:
        """Create a segment whose definition has changed once, and return its id."""
        return crm.segment(self.callers["Campaign Manager"].identity)

    def an_export(self) -> UUID:
        """Create an export that waits for its job."""
        return crm.export(self.callers["Brand Admin"].identity)

    def webhook_endpoint(self) -> UUID:
        """Create a webhook endpoint of the brand, in place of those that tests have created before."""
        with self.superuser.cursor() as cursor:
            cursor.execute("delete from app.webhook_endpoints where id <> all (%s::uuid[])", (self._kept_endpoints(),))
        return webhook_endpoint(self.callers["Brand Admin"])

    def _kept_endpoints(self) -> list[str]:
        return [str(things["endpoint_id"]) for things in (self.own, self.foreign)]

    def sent_invitation(self) -> UUID:
        """Create an invitation that was mailed long enough ago to be sent again."""
        id = self.invitation()
        with self.superuser.cursor() as cursor:
            cursor.execute("update app.invitations set sent_at = now() - interval '1 day' where id = %s", (id,))
        return id

    def demand_no_mfa(self) -> None:
        """Remove the brand's MFA requirement."""
        with self.superuser.cursor() as cursor:
            cursor.execute("update public.brands set mfa_required_from = null where id = %s", (self.brand_id,))

    def brand(self) -> UUID:
        """Create a brand without members."""
        with transaction(self.callers[SYSTEM_ADMIN].identity):
            return brands.create("Acme", {}, address())[0].id

    def assigned(self) -> dict[str, UUID]:
        """Create a Creator who is assigned to the live campaign."""
        assert self.live is not None
        user_id = self.member()
        with transaction(self.callers["Campaign Manager"].identity):
            assignments.assign(self.live.id, user_id)
        return {"campaign_id": self.live.id, "user_id": user_id}

    def signup_token(self) -> str:
        """Return the token of a new sign-up link."""
        return _signup_token(self, address())

    def draft(self) -> Campaign:
        """Create a campaign of the brand."""
        return _campaign(self.callers["Campaign Manager"], launched=False)

    def renamed(self) -> Campaign:
        """Create a campaign of the brand and change it: it has two versions."""
        campaign = self.draft()
        with transaction(self.callers["Campaign Manager"].identity):
            return campaigns.replace(campaign, name="Autumn", kind="QR", config=campaigns.config_of(campaign))[0]

    def active(self) -> Campaign:
        """Create and launch a campaign of the brand."""
        return _campaign(self.callers["Campaign Manager"], launched=True)

    def paused(self) -> Campaign:
        """Create a paused campaign of the brand."""
        campaign = self.active()
        with transaction(self.callers["Campaign Manager"].identity):
            return campaigns.transition(campaign.id, "pause")

    def printed(self) -> dict[str, UUID]:
        """Create a campaign with a code. Return the ids of both."""
        campaign = self.draft()
        with transaction(self.callers["Campaign Manager"].identity):
            return {"campaign_id": campaign.id, "code_id": codes.add(campaign.id, "Entrance").id}

    def beat(self, kind: str) -> str:
        """Record a heartbeat and return its kind of process."""
        with self.superuser.cursor() as cursor:
            cursor.execute("select app.record_heartbeat(%s, 'test')", (kind,))
        return kind

    def letter(self, brand_id: UUID | None = None) -> UUID:
        """Create a dead letter with a cause that no other has."""
        with transaction(context.for_system_job()):
            id = ledger.enqueue("report.send", str(self.brand_id), brand_id=brand_id or self.brand_id).id
        error = {
            "kind": "TimeoutError",
            "message": "no answer within 10 s",
            "where": [f"reports.py:{next(_lines)} send"],
        }
        with self.superuser.cursor() as cursor:
            cursor.execute(
                "update app.jobs set state = 'running', published_at = now(), worker_id = 1, fence = 1 where id = %s",
                (id,),
            )
            cursor.execute("select app.dead_letter(%s, 1, %s)", (id, Json(error)))
        return id

    def failed_call(self, brand_id: UUID | None = None) -> UUID:
        """Create the record of a call of a service whose job is a dead letter."""
        job_id, call_id = self.letter(brand_id), new_id()
        with self.superuser.cursor() as cursor:
            cursor.execute(
                "insert into public.passport_calls values (%s, %s, 'locker', 'reserve', 'http', %s, 1, 'failed',"
                " 'timeout', 5000, 120, 0, '{}', now())",
                (call_id, brand_id or self.brand_id, job_id),
            )
        return call_id

    def letter_in_full(self) -> dict[str, Any]:
        """Create a dead letter and return its full record."""
        id = self.letter()
        with transaction(self.callers[SYSTEM_ADMIN].identity):
            return asdict(dead_letters.get(id))

    def waiting_job(self) -> UUID:
        """Enqueue a job that no worker claims."""
        with transaction(context.for_system_job()):
            return ledger.enqueue("report.compile", brand_id=self.brand_id).id

    def announce(self, name: str, queue: str) -> None:
        """Have an actor, as a release has it."""
        with self.superuser.cursor() as cursor:
            cursor.execute("select app.register_actors(%s, %s)", ([name], [queue]))

    def code_token(self) -> str:
        """Return the token of the live campaign's printed code."""
        assert self.live is not None
        with self.superuser.cursor() as cursor:
            cursor.execute("select id, key_version from public.qr_codes where campaign_id = %s", (self.live.id,))
            return codes.make_token(*(cursor.fetchone() or ()))

    def own_arrival(self) -> dict[str, Any]:
        """Return the body of a check-in by a fresh scan of the fan."""
        return events.scan(self.superuser, self.own["event_id"], self.callers[FAN].identity.user_id or self.brand_id)

    def reward(self, campaign: Campaign, fan: Caller) -> UUID:
        """Create a granted reward of a fan."""
        id, fan_id = new_id(), fan.identity.user_id
        with self.superuser.cursor() as cursor:
            cursor.execute(
                "insert into public.rewards (id, brand_id, campaign_id, user_id, reward_key, name, campaign_name,"
                " state) values (%s, %s, %s, %s, 'tote-bag', 'Tote bag', 'Summer', 'granted')",
                (id, campaign.brand_id, campaign.id, fan_id),
            )
        return id

    def reward_code(self) -> str:
        """Return a one-time code of a new reward of the live campaign."""
        assert self.live is not None
        reward_id = self.reward(self.live, self.callers[FAN])
        with transaction(self.callers[FAN].identity):
            return reward_codes.issue(reward_id).text

    def consent(self, caller: Caller, tier: str = "marketing") -> UUID:
        """Create a consent of the fan."""
        with transaction(caller.identity):
            return consents.grant(tier)[0].id

    def launch_job(self, caller: Caller) -> UUID:
        """Request a launch and return its job."""
        campaign = _campaign(caller, launched=False)
        with transaction(caller.identity):
            return launch.start(campaign.id).id


def address() -> str:
    """Return an unused email address."""
    return f"{uuid4().hex}@people.example"


def build(superuser: connection) -> Seed:
    """Build the seed."""
    seed = Seed(superuser)
    seed.callers[UNAUTHENTICATED] = Caller()
    seed.callers[SYSTEM_ADMIN] = admin = seed.admin()
    seed.brand_id, staff = _brand(admin)
    seed.callers |= staff
    seed.callers[ANONYMOUS] = seed.anonymous("essential")
    seed.callers[FAN] = _fan(seed)
    seed.live = _campaign(staff["Campaign Manager"], launched=True)
    seed.own = _things(seed, seed.brand_id, seed.live, staff, seed.callers[FAN])
    brand_id, strangers = _brand(admin)
    seed.strangers = strangers
    theirs = _campaign(strangers["Campaign Manager"], launched=True)
    seed.foreign = _things(seed, brand_id, theirs, strangers, seed.anonymous())
    return seed


def _things(seed: Seed, brand_id: UUID, campaign: Campaign, staff: dict[str, Caller], fan: Caller) -> dict[str, UUID]:
    manager, creator = staff["Campaign Manager"], staff["Creator"].identity.user_id
    assert creator is not None
    with transaction(manager.identity):
        code_id = value("SELECT id FROM public.qr_codes WHERE campaign_id = %s", (campaign.id,))
        assignments.assign(campaign.id, creator)
    with transaction(seed.callers[SYSTEM_ADMIN].identity):
        invitation_id = invitations.invite(brand_id, address(), "Creator")
    return {
        **events.things(seed.superuser, manager.identity, creator, fan.identity.user_id or creator, campaign.id),
        "brand_id": brand_id,
        "user_id": creator,
        "invitation_id": invitation_id,
        "api_key_id": _api_key(staff["Brand Admin"], "campaigns:read")[0],
        "campaign_id": campaign.id,
        "code_id": code_id,
        "consent_id": seed.consent(fan),
        "job_id": seed.launch_job(manager),
        "reward_id": max(seed.reward(campaign, fan) for _ in range(2)),  # two pages of the list
        "dead_job_id": seed.letter(brand_id),
        "call_id": seed.failed_call(brand_id),
        "session_id": fan.identity.session_id,
        "entry_id": _entry(manager),
        "asset_id": _asset(manager),
        "import_id": _import(manager, seed.superuser),
        "segment_id": crm.segment_with_members(staff["Campaign Manager"].identity, seed.superuser),
        "export_id": crm.export(staff["Brand Admin"].identity),
        "notification_id": _notification(brand_id, manager),
        "endpoint_id": _endpoint_with_deliveries(seed, staff["Brand Admin"]),
        **crm.things(manager.identity),
    }


def _api_key(by: Caller, *scopes: str) -> tuple[UUID, str]:
    with transaction(by.identity):
        made, text = api_keys.create("till", list(scopes), timedelta(days=1))
    return made.id, text


def _endpoint_with_deliveries(seed: Seed, by: Caller) -> UUID:
    """Create a webhook endpoint with two attempts."""
    endpoint_id = webhook_endpoint(by)
    with seed.superuser.cursor() as cursor:
        cursor.execute(
            "insert into app.webhook_attempts (id, brand_id, endpoint_id, event_id, type, duration_ms, status)"
            " select gen_random_uuid(), brand_id, id, gen_random_uuid(), 'webhook.test', 1, 200"
            " from app.webhook_endpoints, generate_series(1, 2) where id = %s",
            (endpoint_id,),
        )
    return endpoint_id


def webhook_endpoint(by: Caller) -> UUID:
    """Create a webhook endpoint of a Brand Admin."""
    url = "https://hooks.brand.example/events"
    with transaction(by.identity):
        made, _ = endpoints.create(Definition(url=url, description=None, event_types=None, enabled=True))
    return made.id


def _entry(of: Caller) -> UUID:
    """Return an audit entry of the caller's brand."""
    with transaction(of.identity):
        trail.record("campaign.update")
    with transaction(context.for_system_job()):
        found: UUID = value(
            "SELECT id FROM public.audit_logs WHERE user_id = %s ORDER BY timestamp DESC LIMIT 1",
            (of.identity.user_id,),
        )
        return found


def _asset(by: Caller) -> UUID:
    with transaction(by.identity):
        return assets.reserve(purpose="import", filename="a.csv", content_type="text/csv", size=1)[0].id


def _table(by: Caller, superuser: connection) -> UUID:
    asset_id = _asset(by)
    with superuser.cursor() as cursor:
        cursor.execute(
            "update public.assets set state = 'ready', sha256 = repeat('a', 64) where id = %s", (str(asset_id),)
        )
    return asset_id


def _import(by: Caller, superuser: connection) -> UUID:
    options = imports.Options(
        mapping={"E-mail": "email"},
        match_keys=["email"],
        overwrite="missing",
        dry_run=True,
        encoding=None,
        conventions=Conventions(),
    )
    asset_id = _table(by, superuser)
    with transaction(by.identity):
        return imports.create(asset_id, options)[0].id


def _notification(brand_id: UUID, reader: Caller) -> UUID:
    """Notify the brand of an event, and return the notification of one member."""
    with transaction(context.for_brand_job(brand_id)):
        notifications.create("launch_finished", ("campaign", uuid4()), {"campaign": "Summer"}, "campaigns:launch")
    with transaction(reader.identity):
        return notifications.find(limit=1)[0].id


def _brand(admin: Caller) -> tuple[UUID, dict[str, Caller]]:
    with transaction(admin.identity):
        brand, _ = brands.create("Acme", {}, address())
    return brand.id, {role: _member(admin, brand.id, role) for role in MEMBERS}


def _member(admin: Caller, brand_id: UUID, role: str) -> Caller:
    email = address()
    with transaction(admin.identity):
        invitation_id = invitations.invite(brand_id, email, role)
    with transaction(context.unauthenticated().on_credentials()):
        invitations.accept(invitation_id, _hash(), None, "en")
    return _signed_in(email)


def _fan(seed: Seed, password: str = PASSWORD) -> Caller:
    email = address()
    token = _signup_token(seed, email)
    signups.verify(
        context.unauthenticated().on_credentials(), token, password, consent_tiers=["essential"], notice_id=notice_id()
    )
    return _signed_in(email, password)


def notice_id() -> UUID:
    """Return the consent notice in force."""
    with transaction(context.unauthenticated()):
        return notices.default("en").id


def _signup_token(seed: Seed, email: str) -> str:
    with transaction(context.unauthenticated().on_credentials()):
        signups.sign_up(email, "en")
    with seed.superuser.cursor() as cursor:
        cursor.execute("select id from app.signups where email = %s", (email,))
        return signed_links.make(accounts.SIGNUP, (cursor.fetchone() or (None,))[0])


def _signed_in(email: str, password: str = PASSWORD) -> Caller:
    return _caller(sessions.sign_in(email, password, network="test"))


def _caller(session: Session) -> Caller:
    return Caller(session.access_token, session.person.email)


def _campaign(by: Caller, *, launched: bool) -> Campaign:
    with transaction(by.identity):
        made = campaigns.create(name="Summer", kind="QR", config=msgspec.convert({}, Config))
    if not launched:
        return made
    with transaction(context.for_brand_job(made.brand_id)):
        launch.pin_fingerprint_key(made.id)
        codes.ensure_first(made.id)
        launch.activate(made.id)
    with transaction(by.identity):
        return campaigns.get(made.id)
