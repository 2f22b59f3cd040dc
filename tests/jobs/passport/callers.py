"""Callers of services, by the operation that they call.

A caller is a generator: it prepares, waits at its `yield` until the test has set up a fault, then acts and checks the
end state.
"""

import json
from dataclasses import dataclass
from typing import Any

from models.audiences import engagement_events, live_metrics, segment_outbox
from models.campaigns import campaigns, check_ins, guests, launch, rewards
from models.campaigns.guests import Invitation
from models.core import context
from models.core.database import new_id, transaction
from models.jobs.ledger import enqueue
from tests.fixtures.campaigns import NOON

EVENT = {"ends_at": "2100-01-01T00:00:00Z"}
GOLD = [{"key": "gold", "name": "Gold", "quantity": 9}]
READS = {"stock", "metrics", "pull_contacts"}
"""Operations without an effect. Each attempt asks again."""


@dataclass
class World:
    """The fixtures that callers use."""

    campaign: Any
    manager: Any
    make_drop: Any
    fan: Any
    query: Any
    run: Any

    def enqueue(self, brand_id, name, *args):
        """Enqueue a job of a brand, run it and all that follow, and return their names."""
        with transaction(context.for_brand_job(brand_id)):
            enqueue(name, *args)
        return self.run()

    def enqueue_system(self, name, fan):
        """Enqueue a job of the system about a fan, and run it."""
        with transaction(context.for_system_job()):
            enqueue(name, fan.user_id, user_id=fan.user_id)
        return self.run()

    def event(self, admission="open"):
        """Return an active event that Concierto knows."""
        made = self.campaign("Night", "Event", **EVENT)
        plan = {"event": {"admission": admission, "capacity": 9, "doors_open_at": None}}
        self.query("update campaigns set config = config || %s where id = %s", json.dumps(plan), made.id)
        self.enqueue(made.brand_id, "event.publish", made.id)
        return made

    def drop(self, **quantities):
        """Return a Locker Drop that runs its jobs as this world does."""
        made = self.make_drop(**quantities)
        made.drain = lambda: self.run()
        return made

    def ticket(self, night):
        """Store a requested ticket and return its id."""
        id = new_id()
        self.query(
            "insert into tickets (id, brand_id, campaign_id, user_id, key_version, job_id)"
            " values (%s, %s, %s, %s, 1, %s)",
            *(id, night.brand_id, night.id, self.fan().user_id, new_id()),
        )
        return id

    def arrive(self, night):
        """Report the arrival of one person, and return the id of the check-in."""
        with self.manager.acting():
            usual = {"ticket": None, "guest_id": None, "people": 1, "gate": None, "scanned_at": None}
            return check_ins.request(night.id, **usual)[0].id


def _launch(kind, **config):
    def run(world):
        draft = world.campaign(kind=kind, launched=False, **config)
        yield
        with world.manager.acting():
            launch.start(draft.id)
        assert world.run().count("campaign.launch") == 2
        assert world.query("select status from campaigns") == [("Active",)]

    return run


def _reserve(world):
    drop = world.drop(gold=1)
    scan = drop.scan()
    yield
    drop.settle(scan)
    assert (drop.state(scan), world.query("select count(*) from rewards")) == ("granted", [(1,)])


def _judge(before, after, state, ready=lambda drop, scan: None):
    """Return a caller whose scan changes its band."""

    def run(world):
        drop = world.drop(gold=1)
        scan = drop.scan(before)
        drop.settle(scan)
        ready(drop, scan)
        yield
        assert drop.judge(scan, after) == state

    return run


def _suspend(drop, scan):
    drop.judge(scan, "reject")


def _suspend_for_long(drop, scan):
    _suspend(drop, scan)
    drop.pass_time(scan)


def _age(drop, scan):
    drop.run("update rewards set expires_at = expires_at - %s", rewards.HOLD / 2)


def _claim(world):
    drop = world.drop(gold=1)
    ana = world.fan()
    yield
    scan, _ = drop.claim(ana)
    assert drop.state(scan) == "claimed"


def _redeem(world):
    drop = world.drop(gold=1)
    scan, code = drop.claim(world.fan())
    yield
    drop.redeem(code, world.manager)
    assert drop.state(scan) == "redeemed"


def _refresh_stock(world):
    drop = world.drop(gold=4)
    world.query("delete from reward_stocks")
    yield
    world.enqueue(drop.campaign.brand_id, "reward.refresh_stock", drop.campaign.id)
    assert world.query("select quantity from reward_stocks") == [(4,)]


def _close(world):
    night = world.event()
    yield
    with world.manager.acting():
        campaigns.transition(night.id, "complete")
    assert world.run().count("event.close") == 2


def _invite(world):
    night = world.event("guest_list")
    yield
    with world.manager.acting():
        guests.add(night.id, [Invitation("Ana", 2, None, None)])
    world.run()
    assert world.query("select state from guests") == [("listed",)]


def _uninvite(world):
    night = world.event("guest_list")
    with world.manager.acting():
        ((ana,), _) = guests.add(night.id, [Invitation("Ana", 2, None, None)])
    world.run()
    yield
    with world.manager.acting():
        guests.remove(night.id, ana.id)
    world.run()
    assert world.query("select state from guests") == []


def _issue_ticket(world):
    night = world.event("tickets")
    yield
    world.enqueue(night.brand_id, "ticket.issue", world.ticket(night))
    assert world.query("select state from tickets") == [("issued",)]


def _cancel_ticket(world):
    night = world.event("tickets")
    ticket = world.ticket(night)
    world.enqueue(night.brand_id, "ticket.issue", ticket)
    yield
    world.enqueue(night.brand_id, "ticket.cancel", ticket)
    assert world.query("select state from tickets") == [("cancelled",)]


def _check_in(world):
    night = world.event()
    yield
    world.arrive(night)
    world.run()
    assert world.query("select state from check_ins") == [("accepted",)]


def _undo_check_in(world):
    night = world.event()
    arrived = world.arrive(night)
    world.run()
    yield
    with world.manager.acting():
        check_ins.request_undo(night.id, arrived)
    world.run()
    assert world.query("select state from check_ins") == [("undone",)]


def _ingest(world):
    summer = world.campaign()
    yield
    with transaction(context.for_brand_job(summer.brand_id)):
        event = {"campaign_id": summer.id, "user_id": world.fan().user_id, "source_id": new_id()}
        engagement_events.record("scan", brand_id=summer.brand_id, occurred_at=NOON, **event)
    world.run()
    assert world.query("select count(*) from app.engagement_outbox") == [(0,)]


def _ingest_moves(world):
    brand_id = world.manager.brand_id
    yield
    with transaction(context.for_brand_job(brand_id)):
        segment_outbox.add(new_id(), NOON, entered=3, left=1)
    world.run()
    assert world.query("select count(*) from app.segment_outbox") == [(0,)]


def _metrics(world):
    summer = world.campaign()
    yield
    for _ in range(2):  # A failed question is not repeated: the last answer stays, and the next request asks again.
        world.query("delete from app.job_keys")
        with transaction(context.for_brand_job(summer.brand_id)):
            live_metrics.request(summer.id)
        world.run()
    assert world.query("select totals from campaign_metrics") == [({},)]


def _link(world):
    nora = world.fan()
    yield
    assert world.enqueue_system("mediaid.link", nora).count("mediaid.link") == 2


def _put_traits(world):
    nora, brand_id = world.fan("essential", "marketing"), world.campaign().brand_id
    world.query("insert into contacts (brand_id, user_id) values (%s, %s)", brand_id, nora.user_id)
    world.query("delete from app.jobs")
    yield
    world.enqueue_system("mediaid.refresh", nora)
    assert world.query("select name, value from fan_traits") == [("language", "en")]


def _push_contacts(world):
    brand_id = world.campaign().brand_id
    sql = "insert into contacts (brand_id, properties) values (%s, %s)"
    world.query(sql, brand_id, '{"vip": true}')
    yield
    assert world.enqueue(brand_id, "cals.push").count("cals.push") == 2


def _push_activities(world):
    campaign, nora = world.campaign(), world.fan()
    world.query("insert into contacts (brand_id, user_id) values (%s, %s)", campaign.brand_id, nora.user_id)
    with transaction(context.for_brand_job(campaign.brand_id)):
        event = {"campaign_id": campaign.id, "user_id": nora.user_id, "source_id": new_id()}
        engagement_events.record("scan", brand_id=campaign.brand_id, occurred_at=NOON, **event)
    world.run()
    yield
    world.enqueue(campaign.brand_id, "cals.push_activities")
    assert world.query("select event_id from app.activity_outbox") == []


def _pull_contacts(world):
    brand_id = world.campaign().brand_id
    yield
    world.enqueue(brand_id, "cals.pull")
    assert world.query("select pulled_at is not null from contact_sync_state") == [(True,)]


CALLERS = {
    ("locker", "open"): _launch("Locker", rewards=GOLD),
    ("concierto", "publish"): _launch("Event", **EVENT),
    ("coliseum", "open"): _launch("QR"),
    ("locker", "reserve"): _reserve,
    ("locker", "grant"): _judge("review", "accept", "granted"),
    ("locker", "extend"): _judge("review", "review", "reserved", _age),
    ("locker", "suspend"): _judge("accept", "reject", "suspended"),
    ("locker", "reinstate"): _judge("accept", "accept", "granted", _suspend),
    ("locker", "release"): _judge("accept", "reject", "released", _suspend_for_long),
    ("locker", "claim"): _claim,
    ("locker", "redeem"): _redeem,
    ("locker", "stock"): _refresh_stock,
    ("concierto", "close"): _close,
    ("concierto", "invite"): _invite,
    ("concierto", "uninvite"): _uninvite,
    ("concierto", "issue_ticket"): _issue_ticket,
    ("concierto", "cancel_ticket"): _cancel_ticket,
    ("concierto", "check_in"): _check_in,
    ("concierto", "undo_check_in"): _undo_check_in,
    ("coliseum", "ingest"): _ingest,
    ("coliseum", "ingest_moves"): _ingest_moves,
    ("coliseum", "metrics"): _metrics,
    ("mediaid", "link"): _link,
    ("mediaid", "put_traits"): _put_traits,
    ("cals", "push_contacts"): _push_contacts,
    ("cals", "pull_contacts"): _pull_contacts,
    ("cals", "push_activities"): _push_activities,
}
"""Callers by the operation that they call."""
UNCALLED = {
    ("coliseum", "segment_totals"),
    ("concierto", "attendance"),
    ("mediaid", "resolve"),
    ("mediaid", "traits"),
    ("mediaid", "forget"),
    ("geocoder", "locate"),
}
"""Operations that no job calls, and those of the geocoder, which is no server of this protocol."""
