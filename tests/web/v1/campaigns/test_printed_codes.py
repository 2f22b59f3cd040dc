"""Test the printed codes of a campaign over HTTP."""

import xml.etree.ElementTree as ET
from urllib.parse import urlsplit

from models.campaigns import codes

URL = "/api/v1/campaigns"
PNG = b"\x89PNG\r\n\x1a\n"


def test_code_has_the_same_token_each_time(client, create, manager, entries):
    made = create()

    response = client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    assert response.status_code == 201
    code = response.json
    assert (code["label"], code["campaign_id"], code["disabled_at"]) == ("Entrance", made["id"], None)
    assert str(codes.read_token(code["token"])) == code["id"]
    assert urlsplit(code["url"]).path == f"/s/{code['token']}"
    assert client.get(response.headers["location"], token=manager.token).json == code
    assert client.get(f"{URL}/{made['id']}/codes", token=manager.token).json == {"items": [code], "next_cursor": None}
    (entry,) = entries("code.create")
    assert entry["details"]["after"]["label"] == "Entrance"
    assert code["token"] not in str(entry)


def test_second_code_with_one_label_is_refused(client, create, manager):
    made = create()
    client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    response = client.post(f"{URL}/{made['id']}/codes", json={"label": "Entrance"}, token=manager.token)

    assert (response.status_code, response.json["code"], response.json["label"]) == (409, "label_taken", "Entrance")


def test_codes_are_listed_page_by_page(client, create, manager):
    made = create()
    labels = ["Entrance", "Bar", "Stage"]
    for label in labels:
        client.post(f"{URL}/{made['id']}/codes", json={"label": label}, token=manager.token)

    first = client.get(f"{URL}/{made['id']}/codes", params={"limit": 2}, token=manager.token).json
    rest = client.get(
        f"{URL}/{made['id']}/codes", params={"limit": 2, "cursor": first["next_cursor"]}, token=manager.token
    ).json

    assert [code["label"] for code in first["items"] + rest["items"]] == labels
    assert rest["next_cursor"] is None


def test_picture_of_code_is_svg(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": 'Bar <&> "Grill"'}, token=manager.token).json

    response = client.get(f"{URL}/{made['id']}/codes/{code['id']}/image.svg", token=manager.token)

    assert response.status_code == 200
    assert response.headers["content-type"] == "image/svg+xml"
    picture = ET.fromstring(response.content)
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert picture[0].text == 'Bar <&> "Grill"'


def test_picture_of_code_is_png_of_the_requested_scale(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": "Bar"}, token=manager.token).json
    image = f"{URL}/{made['id']}/codes/{code['id']}/image.png"

    answers = [client.get(image, params=size, token=manager.token) for size in ({}, {"scale": 3})]
    refused = client.get(image, params={"scale": 41}, token=manager.token)

    assert [(answer.headers["content-type"], answer.content[:8]) for answer in answers] == [("image/png", PNG)] * 2
    (default, small) = (int.from_bytes(answer.content[16:20], "big") for answer in answers)
    assert default * 3 == small * 16
    assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "scale")


def test_picture_is_served_as_svg_only(client, create, manager):
    made = create()
    code = client.post(f"{URL}/{made['id']}/codes", json={"label": "Bar"}, token=manager.token).json

    def ask(accept):
        image = f"{URL}/{made['id']}/codes/{code['id']}/image.svg"
        return client.get(image, token=manager.token, headers={"Accept": accept}).status_code

    assert [ask(accept) for accept in ("image/svg+xml", "image/avif,*/*;q=0.8", "application/json")] == [200, 200, 406]


def test_code_is_disabled_and_enabled(create, act, entries):
    made = create()
    code, other = (act(made, "codes", label=label).json for label in ("Bar", "Stage"))

    def listed(value):
        return [one["id"] for one in act(made, f"codes?disabled={value}", "GET").json["items"]]

    disabled = act(made, f"codes/{code['id']}/disable", "PUT")
    found = listed("true"), listed("false")
    again = act(made, f"codes/{code['id']}/disable", "PUT")
    enabled = act(made, f"codes/{code['id']}/disable", "DELETE")

    assert (disabled.status_code, disabled.json["disabled_at"] is not None) == (200, True)
    assert again.json == disabled.json
    assert found == ([code["id"]], [other["id"]])
    assert (enabled.status_code, enabled.json) == (200, code)
    (first, _) = entries("code.disable")
    assert (str(first["record_id"]), first["details"]["before"]["disabled_at"]) == (code["id"], None)
    assert len(entries("code.enable")) == 1
