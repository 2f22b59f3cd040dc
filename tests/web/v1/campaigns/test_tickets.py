"""Test tickets over HTTP: request, show, cancel."""

from models.campaigns import tickets


def _request(client, campaign, person):
    return client.post("/api/v1/tickets", token=person.token, json={"campaign_id": str(campaign.id)})


def test_fan_gets_one_signed_ticket_up_to_the_capacity(client, event, account_of, serve):
    night, (ana, eva) = event("tickets", capacity=1), (account_of(), account_of())
    serve()

    first = _request(client, night, ana)
    again = _request(client, night, ana)
    full = _request(client, night, eva)
    listed = client.get("/api/v1/tickets", token=ana.token).json["items"]

    assert (first.status_code, first.json["state"]) == (200, "issued")
    assert again.json == first.json
    assert str(tickets.read_code(first.json["code"])) == first.json["id"]
    assert (full.status_code, full.json["code"]) == (409, "at_capacity")
    assert listed == [first.json]
    assert [
        (one["state"], one["refusal"], one["code"])
        for one in client.get("/api/v1/tickets", token=eva.token).json["items"]
    ] == [("refused", "at_capacity", None)]


def test_cancelled_ticket_frees_its_place_for_another_fan(client, event, account_of, serve):
    night, (ana, eva) = event("tickets", capacity=1), (account_of(), account_of())
    serve()
    ticket = _request(client, night, ana).json

    stolen = client.post(f"/api/v1/tickets/{ticket['id']}/cancel", token=eva.token)
    cancelled = client.post(f"/api/v1/tickets/{ticket['id']}/cancel", token=ana.token)
    again = client.post(f"/api/v1/tickets/{ticket['id']}/cancel", token=ana.token)
    other = _request(client, night, eva)

    assert stolen.status_code == 404
    assert (cancelled.json["state"], cancelled.json["code"], again.json["state"]) == ("cancelled", None, "cancelled")
    assert other.json["state"] == "issued"


def test_cancellation_of_used_ticket_is_refused_without_dead_letter(client, event, account_of, gate, serve, query):
    night, ana = event("tickets"), account_of()
    serve()
    ticket = _request(client, night, ana).json
    entered = gate(night, ticket=ticket["code"]).json

    refused = client.post(f"/api/v1/tickets/{ticket['id']}/cancel", token=ana.token)

    assert (refused.status_code, refused.json["code"]) == (409, "already_checked_in")
    assert refused.json["checked_in_at"] == entered["scanned_at"]
    assert client.get(f"/api/v1/tickets/{ticket['id']}", token=ana.token).json["state"] == "issued"
    assert query("select count(*) from app.jobs where state = 'dead'") == [(0,)]


def test_ticket_needs_an_account_and_an_active_event_with_tickets(client, event, campaign, fan, account_of, serve):
    ana, open_event, draft = account_of(), event("open"), campaign("Draft", "Event", launched=False)
    serve()

    def answer(person, campaign):
        response = _request(client, campaign, person)
        return response.status_code, response.json["code"]

    assert answer(ana, open_event) == (409, "tickets_not_offered")
    assert answer(ana, draft) == (404, "not_found")
    assert answer(fan(), open_event) == (403, "account_required")


def test_ticket_without_an_answer_yet_is_requested(client, event, account_of):
    night, ana = event("tickets"), account_of()

    response = _request(client, night, ana)
    ticket = client.get(response.headers["location"], token=ana.token).json

    assert response.status_code == 202
    assert (ticket["state"], ticket["code"]) == ("requested", None)
