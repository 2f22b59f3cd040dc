"""Test that each mail is in its reader's language, and that its link opens the page in that language."""

import re
from datetime import UTC, datetime
from string import Template

import pytest

import jobs.actors  # noqa: F401  (declares every actor)
from jobs.mail import templates
from models.core import context
from models.core.database import transaction
from models.identity import signups
from models.jobs.ledger import enqueue
from models.notifications import kinds, notifications
from models.tenants import brands, invitations
from tests.fixtures.accounts import text_of

NAMES = sorted({path.name.split(".")[0] for path in templates.TEMPLATES.glob("*.txt")})
NOTICES = [
    *("access_removed", "codes_used_up", "mfa_disabled", "mfa_enabled", "password_changed", "recovery_code_used"),
    "recovery_codes_replaced",
]
"""Templates of `mail.account_notice`."""
REQUIRED_FROM = datetime(2099, 12, 1, 17, 5, tzinfo=UTC)
CHANGED = "changed@people.example"


@pytest.fixture
def mail_all(client, admin, member, make_brand, drain, mailbox, query, fresh_limits):
    """`mail_all(locale, others)`: send a mail of each kind to people who read `locale`, among people who read others.

    Return the mails, and the name of the brand.
    """

    def mail_all(locale, others):
        other = member("Brand Admin")
        brand = make_brand("Acme")
        reader, fan = member("Brand Admin", brand), member("Creator", brand)
        query("update users set locale = %s", others)
        query("update brands set settings = jsonb_build_object('locale', %s::text)", others)
        query("update users set role_id = 4, brand_id = null where id = %s", fan.user_id)
        query("update users set locale = %s where id in (%s, %s)", locale, reader.user_id, fan.user_id)

        ask_for_mails(admin, brand, reader, fan, locale, others)
        ask_for_change(client, other, reader.email)
        client.post("/api/v1/auth/password/forgot", json={"email": reader.email})
        ask_for_change(client, reader, CHANGED)
        drain()
        client.post("/api/v1/auth/email/confirm", json={"token": mailbox.token(CHANGED)})
        drain()
        client.post("/api/v1/auth/email/undo", json={"token": mailbox.token(reader.email)})
        drain()
        return [message for message in mailbox.messages if message["To"] != other.email]

    return mail_all


def ask_for_mails(admin, brand, reader, fan, locale, others):
    """Enqueue the mails that need no link of another mail."""
    with transaction(context.unauthenticated().on_credentials()):
        signups.sign_up("new@people.example", locale)
        signups.sign_up(reader.email, others)
    with transaction(context.for_system_job()):
        for notice in NOTICES:
            enqueue("mail.account_notice", reader.user_id, notice)
    with transaction(context.for_brand_job(brand["id"])):
        notifications.create("payment_failed", ("payment", "1"), {"amount": "10 €"}, "billing:read")
    with admin.acting():
        invitations.invite(brand["id"], fan.email, "Creator")
        found = brands.get_for_update(brand["id"])
        brands.change(found, found.name, found.settings, REQUIRED_FROM)


def ask_for_change(client, person, email):
    """Ask for another address of a person."""
    answer = client.post("/api/v1/users/me/email", json={"email": email}, token=person.token)
    assert answer.status_code == 202


def subjects(language):
    """Return the name of each template by its subject in a language, as mails of the brand Acme have it."""
    title = kinds.render("payment_failed", language, {}).title
    values = {"brand": "Acme", "link": "x", "when": "x", "title": title, "text": "x"}
    rendered = {name: templates.render(name, language, **values) for name in NAMES}
    return {mail.subject: name for name, mail in rendered.items()}


@pytest.mark.parametrize(("locale", "language", "others"), [("es-MX", "es", "en"), ("fr", "en", "es")])
def test_every_mail_is_in_the_language_of_its_reader(mail_all, locale, language, others):
    messages = mail_all(locale, others)

    assert sorted({subjects(language)[message["Subject"]] for message in messages}) == NAMES
    for message in messages:
        assert message["Content-Language"] == language
        assert f'<html lang="{language}">' in text_of(message, "html")
        links = re.findall(r"https?://\S+", text_of(message))
        assert [link for link in links if f"?lang={language}" not in link] == [], message["Subject"]


def test_invitation_to_an_unknown_address_is_in_the_language_of_the_brand(admin, drain, mailbox):
    with admin.acting():
        brands.create("Acme", {"locale": "es"}, "boss@example.com")
    drain()

    assert mailbox.to("boss@example.com")[0]["Content-Language"] == "es"


def test_date_in_a_mail_is_that_of_the_reader():
    moments = [
        templates.moment(REQUIRED_FROM, zone, language)
        for zone, language in (("Europe/Madrid", "es"), ("Asia/Tokyo", "en"))
    ]

    assert moments == ["1 de diciembre de 2099 a las 18:05 (Europe/Madrid)", "2 December 2099 at 02:05 (Asia/Tokyo)"]


def test_translations_of_a_template_use_the_same_values():
    def values(name, language, kind):
        template = Template((templates.TEMPLATES / f"{name}.{language}.{kind}").read_text())
        return set(template.get_identifiers())

    for name in NAMES:
        for kind in ("txt", "html"):
            assert values(name, "en", kind) == values(name, "es", kind), f"{name}.*.{kind}"
