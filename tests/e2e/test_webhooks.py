"""A webhook of a running system, received by the program of docs/webhooks.md."""

from scripts.devstack.api import HttpApi
from scripts.devstack.people import People
from tests.support.brokers import until
from tests.support.pages import block

ENDPOINTS = "/api/v1/webhooks/endpoints"


def test_webhook_of_running_system_is_verified_by_the_documented_program(system, receiver, capsys):
    program = {}
    exec(block("docs/webhooks.md", "program").removeprefix("```python\n").removesuffix("```\n"), program)
    _, token = People(system.run, system.var).token("Brand Admin")
    api = HttpApi(system.run["api"], token)
    made = api.call("POST", ENDPOINTS, {"url": receiver.url, "description": "Café"})

    api.call("POST", f"{ENDPOINTS}/{made['id']}/test")
    until(lambda: receiver.requests)

    (request,) = receiver.requests
    answers = [program["receive"](request.headers, body, made["secret"]) for body in (request.body, b"{}")]
    assert answers == [204, 400]
    assert capsys.readouterr().out.startswith(f"webhook.test {{'endpoint_id': '{made['id']}'")
    api.call("DELETE", f"{ENDPOINTS}/{made['id']}")
