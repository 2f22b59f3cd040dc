"""Endpoints of contacts: create, change, delete, list, and who has looked at whom."""

import pytest

URL = "/api/v1/crm/contacts"


@pytest.fixture
def add(client, manager):
    """`add(**fields)`: the answer to a manager who creates a contact."""
    return lambda by=manager, **fields: client.post(URL, token=by.token, json=fields)


@pytest.fixture
def found(client, manager):
    """`found(**parameters)`: the names of the contacts that the list has."""

    def run(**parameters):
        answer = client.get(URL, token=manager.token, params=parameters)
        return [one["name"] for one in answer.json["items"]]

    return run


def reasons(answer):
    return {error["field"]: error["reason"] for error in answer.json["errors"]}


def test_new_contact_has_its_values_in_stored_form(client, manager, add):
    made = add(email="Ana@Fan.Example", phone="+34 600 000 000", name=" Ana  García ", locale="ES_es", tags=["a", "a"])

    read = client.get(made.headers["Location"], token=manager.token)
    kept = ("email", "phone", "name", "locale", "tags", "properties", "user_id", "version")
    assert made.status_code == 201
    assert read.json == made.json
    assert [read.json[name] for name in kept] == [
        *("ana@fan.example", "+34600000000", "Ana García", "es-ES"),
        *(["a"], {}, None, 1),
    ]


def test_wrong_values_are_refused_together_by_name(add):
    wrong = add(phone="600", country="QQ", birth_date="1890-01-01", properties={"vip": True})
    nobody, half = add(city="Madrid"), add(name="Ana", lat=40.0)

    assert set(reasons(wrong)) == {"phone", "country", "birth_date", "properties.vip"}
    assert (set(reasons(nobody)), set(reasons(half))) == ({"email"}, {"lat", "lon"})


def test_address_and_external_id_belong_to_one_contact(client, manager, add, make_brand, member):
    first = add(email="ana@fan.example", external_id="C-1").json
    again, other = add(email="ANA@fan.example"), add(name="Eva", external_id="C-2")
    etag = {"If-Match": other.headers["ETag"]}
    change = client.patch(other.headers["Location"], token=manager.token, headers=etag, json={"external_id": "C-1"})
    elsewhere = add(member("Brand Admin", make_brand("Other")), email="ana@fan.example")

    for refused, field in ((again, "email"), (change, "external_id")):
        assert (refused.status_code, refused.json["code"]) == (409, "contact_key_taken")
        assert (refused.json["field"], refused.json["contact_id"]) == (field, first["id"])
    assert elsewhere.status_code == 201


def test_change_of_an_old_version_is_refused(client, manager, add):
    made = add(name="Ana", city="Madrid", tags=["vip"])
    url, old = made.headers["Location"], {"If-Match": made.headers["ETag"]}

    changed = client.patch(url, token=manager.token, headers=old, json={"city": None, "country": "es"})
    late = client.patch(url, token=manager.token, headers=old, json={"name": "Eva"})
    gone = client.delete(url, token=manager.token, headers=old)

    assert (changed.json["city"], changed.json["country"], changed.json["tags"]) == (None, "ES", ["vip"])
    assert changed.json["version"] == 2
    assert (late.status_code, gone.status_code) == (412, 412)


def test_opt_out_is_ended_by_no_change_of_the_brand(client, manager, add):
    made = add(name="Ana")
    url = made.headers["Location"]

    told = client.patch(url, token=manager.token, json={"opted_out": True}).json["opted_out_at"]
    after = client.patch(url, token=manager.token, json={"opted_out": False, "name": "Eva"}).json

    assert (made.json["opted_out_at"], after["name"], after["opted_out_at"]) == (None, "Eva", told)
    assert told is not None


def test_withdrawal_opts_out_and_a_new_consent_ends_it(client, fan, campaign, put_scan, drain, query, brand):
    nora = fan("essential", "marketing")
    query("insert into contacts (brand_id, user_id) values (%s, %s)", brand["id"], nora.user_id)
    consents = "/api/v1/consents"

    def opted_out():
        return query("select opted_out_at is not null from contacts")[0][0]

    before = opted_out()
    given = client.get(consents, token=nora.token).json["items"]
    (marketing,) = [one["id"] for one in given if one["tier"] == "marketing"]
    client.delete(f"{consents}/{marketing}", token=nora.token)
    withdrawn = opted_out()
    client.post(consents, token=nora.token, json={"tier": "marketing"})

    assert (before, withdrawn, opted_out()) == (False, True, False)


def test_deleted_contact_is_gone_with_its_notes_and_traits(client, manager, add, fan, query, brand):
    contact, nora = add(name="Ana").json["id"], fan("essential")
    query("update contacts set user_id = %s", nora.user_id)
    query(
        "insert into fan_traits (brand_id, user_id, name, value, observed_at, usable_until)"
        " values (%s, %s, 'music', 'jazz', now(), now())",
        *(brand["id"], nora.user_id),
    )
    client.post(f"{URL}/{contact}/notes", token=manager.token, json={"text": "Likes tea"})

    gone = client.delete(f"{URL}/{contact}", token=manager.token)

    assert gone.status_code == 204
    assert client.get(f"{URL}/{contact}", token=manager.token).status_code == 404
    assert query("select (select count(*) from contact_notes), (select count(*) from fan_traits)") == [(0, 0)]
    assert query("select count(*) from users where id = %s", nora.user_id) == [(1,)]


def test_search_finds_beginnings_of_words_without_accents(add, found):
    add(name="Ana García Ñúñez", email="ana.g@fan.example", phone="+34600000001", external_id="C-77")
    add(name="Mariana Gómez")

    finds = {q: found(q=q) for q in ("ana", "garc ANA", "nunez", "fan", "34600", "c 77", "arcia", "ana gom", "'&|!")}

    ana = ["Ana García Ñúñez"]
    assert finds == dict.fromkeys(("ana", "garc ANA", "nunez", "fan", "34600", "c 77"), ana) | {
        "arcia": [],
        "ana gom": [],
        "'&|!": [],
    }


def test_filters_by_tag_property_and_address_combine(client, manager, add, found):
    declare = [
        {"key": "size", "type": "number", "label": "Size"},
        {"key": "vip", "type": "boolean", "label": "VIP"},
        {"key": "likes", "type": "list", "label": "Likes"},
    ]
    for one in declare:
        client.post("/api/v1/crm/properties", token=manager.token, json=one)
    add(name="Ana", tags=["a", "b"], properties={"size": 38, "vip": True, "likes": ["tea", "jazz"]})
    add(name="Eva", tags=["a"], properties={"size": 38.5, "likes": ["tea"]}, email="eva@fan.example")
    add(name="Íñigo", external_id="C-1")

    assert found(tag="a", sort="name") == ["Ana", "Eva"]
    assert found(tag=["a", "b"]) == ["Ana"]
    assert found(property=["size=38.0", "vip=true"]) == ["Ana"]
    assert found(property=["likes=tea"], sort="-name") == ["Eva", "Ana"]
    assert found(property=["likes=tea", "likes=jazz"]) == ["Ana"]
    assert (found(email="EVA@fan.example"), found(external_id="C-1")) == (["Eva"], ["Íñigo"])
    wrong = client.get(URL, token=manager.token, params={"property": ["size=big", "shoe=1", "x"]})
    assert set(reasons(wrong)) == {"property[0]", "property[1]", "property[2]"}


@pytest.mark.parametrize("sort", ["name", "-name", "created_at", "-created_at", "last_seen_at", "-last_seen_at"])
def test_pages_of_every_order_have_each_contact_once(client, manager, query, brand, sort):
    names = ["Ana", "ángel", "Bea", None, None, "Zoë"]
    for number, name in enumerate(names):
        query(
            "insert into contacts (brand_id, name, created_at, last_seen_at) values (%s, %s,"
            " timestamptz '2026-01-01Z' + interval '1 second' * %s,"
            " case when %s > 2 then timestamptz '2026-01-01Z' - interval '1 second' * %s end)",
            *(brand["id"], name, number // 2, number, number),
        )
    order = {
        "name": '(coalesce(name, chr(65535)) collate "und-x-icu")',
        "created_at": "created_at",
        "last_seen_at": "coalesce(last_seen_at, '-infinity')",
    }[sort.removeprefix("-")]
    way = "desc" if sort.startswith("-") else "asc"
    expected = [str(id) for (id,) in query(f"select id from contacts order by {order} {way}, id {way}")]

    seen, cursor = [], None
    while True:
        page = client.get(
            URL, token=manager.token, params={"limit": 2, "sort": sort} | ({"cursor": cursor} if cursor else {})
        )
        seen += [one["id"] for one in page.json["items"]]
        cursor = page.json["next_cursor"]
        if cursor is None:
            break

    assert seen == expected


def test_audit_trail_names_who_looked_at_which_contact(client, manager, add, query):
    contact = add(name="Ana", email="ana@fan.example").json["id"]
    client.get(f"{URL}/{contact}", token=manager.token)
    client.get(f"{URL}/{contact}/timeline", token=manager.token)
    client.get(URL, token=manager.token)

    entries = query(
        "select action, record_id, user_id, details from audit_logs where action like 'contact.%%' order by id"
    )
    assert [entry[0] for entry in entries] == ["contact.create", "contact.read", "contact.read", "contact.list"]
    assert {entry[2] for entry in entries} == {manager.user_id}
    assert [str(entry[1]) for entry in entries[:3]] == [contact] * 3
    assert entries[3][3]["shown"] == [contact]
    assert "ana@fan.example" not in str(entries)


def test_contacts_are_closed_to_creators_and_to_other_brands(client, add, member, make_brand):
    contact = add(name="Ana").json["id"]
    creator, stranger = member("Creator"), member("Brand Admin", make_brand("Other"))

    assert client.get(URL, token=creator.token).status_code == 403
    assert client.get(URL, token=stranger.token).json["items"] == []
    for url in (f"{URL}/{contact}", f"{URL}/{contact}/timeline", f"{URL}/{contact}/notes"):
        assert client.get(url, token=stranger.token).status_code == 404
    assert client.patch(f"{URL}/{contact}", token=stranger.token, json={"name": "x"}).status_code == 404
    assert client.delete(f"{URL}/{contact}", token=stranger.token).status_code == 404


def test_notes_are_written_changed_and_deleted(client, manager, add):
    contact = add(name="Ana").json["id"]
    url = f"{URL}/{contact}/notes"
    first, second = (client.post(url, token=manager.token, json={"text": text}).json for text in ("one", "two\nlines"))

    changed = client.put(f"{url}/{first['id']}", token=manager.token, headers={"If-Match": '"1"'}, json={"text": "uno"})
    late = client.put(f"{url}/{first['id']}", token=manager.token, headers={"If-Match": '"1"'}, json={"text": "x"})
    gone = client.delete(f"{url}/{second['id']}", token=manager.token)
    foreign = client.delete(f"{URL}/{add(name='Eva').json['id']}/notes/{first['id']}", token=manager.token)

    notes = client.get(url, token=manager.token).json["items"]
    assert (changed.status_code, late.status_code, gone.status_code, foreign.status_code) == (200, 412, 204, 404)
    assert [(note["text"], note["created_by"], note["version"]) for note in notes] == [("uno", str(manager.user_id), 2)]


def test_type_of_a_property_with_values_does_not_change(client, manager, add):
    url = "/api/v1/crm/properties"
    made = client.post(url, token=manager.token, json={"key": "size", "type": "text", "label": "Size"})
    again = client.post(url, token=manager.token, json={"key": "size", "type": "number", "label": "Size"})
    contact = add(name="Ana", properties={"size": "L"})

    def change(**body):
        return client.patch(f"{url}/size", token=manager.token, json=body)

    typed, narrowed = change(type="number"), change(options=["S", "M"])
    fitting, relabelled = change(options=["S", "L"]), change(label="Size of shirts", archived=True)
    kept = add(name="Eva", properties={"size": "S"})
    restored = change(archived=False)
    outside = add(name="Eva", properties={"size": "XL"})
    client.patch(contact.headers["Location"], token=manager.token, json={"properties": {"size": None}})
    free = change(type="number", options=None)

    assert (made.status_code, again.json["code"]) == (201, "property_exists")
    for refused in (typed, narrowed):
        assert (refused.json["code"], refused.json["contacts"]) == ("property_in_use", 1)
    assert (fitting.json["options"], relabelled.json["label"]) == (["S", "L"], "Size of shirts")
    assert set(reasons(kept)) == set(reasons(outside)) == {"properties.size"}
    assert (restored.json["archived_at"], free.json["type"]) == (None, "number")
