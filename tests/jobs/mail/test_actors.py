"""Tests of mail templates, of composed messages, and of retries when the mail server fails."""

import re
import smtplib
import threading
from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs.actors  # noqa: F401  (declares every actor)
from jobs.engine import registry
from jobs.engine.worker.runner import identity_of
from jobs.mail import smtp, templates
from models.core import context, signed_links
from models.core.database import transaction
from models.identity import accounts, credentials, signups
from models.jobs.ledger import enqueue
from models.tenants import brands, invitations
from settings import settings
from tests.fixtures.hostile_servers import PATIENCE
from tests.fixtures.jobs import take
from tests.support.encrypted import listening

TEMPLATES = sorted({tuple(path.name.split(".")[:2]) for path in templates.TEMPLATES.glob("*.txt")})


@pytest.fixture
def sign_up(mailbox, db_clean):
    """Sign a person up without HTTP."""

    def sign_up(email="ana@example.com", locale="en"):
        with transaction(context.unauthenticated().on_credentials()):
            signups.sign_up(email, locale)

    return sign_up


def test_template_in_text_and_html_has_the_same_content():
    values = {"brand": "Acme", "when": "2026-12-01", "title": "Launched", "text": "It is active."}
    for name, language in TEMPLATES:
        mail = templates.render(name, language, link="https://x.example/?token=a&b", **values)

        assert mail.subject, (name, language)
        assert "https://x.example/?token=a&b" in mail.text
        assert 'href="https://x.example/?token=a&amp;b"' in mail.html
        assert f'<html lang="{language}">' in mail.html
        assert "$" not in mail.subject + mail.text + mail.html


def test_every_template_exists_in_english_and_spanish():
    names = {name for name, _ in TEMPLATES}

    assert set(TEMPLATES) == {(name, language) for name in names for language in ("en", "es")}


def test_template_is_rendered_in_the_nearest_language():
    for locale, language in {"es-MX": "es", "ES": "es", "fr": "en", "../en": "en", "x" * 9000: "en", "": "en"}.items():
        assert f'lang="{language}"' in templates.render("verification", locale, link="x").html


def test_markup_in_a_brand_name_is_escaped():
    mail = templates.render("invitation", "en", link="x", brand="<script>$link\r\nBcc: all@example.com")

    assert "<script>" not in mail.html
    assert "\n" not in mail.subject
    assert "\r" not in mail.subject


def test_mail_has_text_html_and_auto_submitted_header(drain, mailbox, sign_up):
    sign_up(locale="es-MX")
    drain()

    (message,) = mailbox.to("ana@example.com")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["Subject"] == "Confirma tu dirección de correo"
    assert message["From"].addresses[0].display_name == "Compañon"
    assert message["Auto-Submitted"] == "auto-generated"
    link = re.search(r"https?://\S+", mailbox.text("ana@example.com"))
    assert link
    assert link[0].startswith(f"{settings.frontend_url}/verify-email?lang=es#token=")


def test_retried_mail_keeps_its_message_id(drain, mailbox, monkeypatch, sign_up):
    send, ids = smtp.send, []

    def fails_after_sending(message):
        ids.append(message_from_bytes(message.content)["Message-ID"])
        send(message)
        if len(ids) == 1:
            raise TimeoutError("the last answer was lost")

    monkeypatch.setattr(smtp, "send", fails_after_sending)
    sign_up()
    drain()

    assert len(ids) == 2
    assert len(set(ids)) == 1


@pytest.mark.parametrize("when", ["RCPT", "DATA"])
def test_mail_refused_with_4xx_is_retried(drain, mailbox, sign_up, when):
    mailbox.answers[when] = ["451 Try again", "421 Busy"]
    sign_up()

    ran = drain()

    assert ran.count("mail.verification") == 3
    assert len(mailbox.to("ana@example.com")) == 1


def test_refused_mail_waits_longer_each_time_for_a_day(mailbox, ledger, runner, query, sign_up):
    sign_up()
    waits = []

    for attempt in range(1, 8):
        mailbox.answers["RCPT"] = ["451 Greylisted"]
        query("update app.jobs set due_at = now()")
        (claim,) = ledger.claim(take(ledger, "mail.verification"), 1)
        assert (runner.run(claim), claim.attempts) == ("retry", attempt)
        ((seconds,),) = query("select extract(epoch from due_at - now())::float8 from app.jobs")
        waits.append(seconds)

    assert waits == pytest.approx([5.25, 31.5, 126, 630, 945, 945, 945], rel=0.06, abs=1)
    for age, outcome in (("23 hours 30 minutes", "retry"), ("23 hours 50 minutes", "dead")):
        mailbox.answers["RCPT"] = ["451 Greylisted"]
        query("update app.jobs set due_at = now(), created_at = now() - %s::interval", age)
        assert runner.run(ledger.claim(take(ledger, "mail.verification"), 1)[0]) == outcome


def test_mail_to_server_that_refuses_connections_is_retried(monkeypatch, ledger, runner, sign_up):
    sign_up()
    with listening(lambda client: client.sendall(b"554 No service\r\n")) as port:
        monkeypatch.setattr(smtp, "settings", replace(settings, smtp_url=f"smtp://127.0.0.1:{port}"))

        assert runner.run(ledger.claim(take(ledger, "mail.verification"), 1)[0]) == "retry"


@pytest.mark.parametrize("when", ["MAIL", "RCPT", "DATA"])
def test_mail_refused_with_5xx_becomes_a_dead_letter(drain, mailbox, sign_up, superuser, when):
    mailbox.answers[when] = ["550 No such user"]
    sign_up()

    ran = drain(allow_dead=True)

    assert ran.count("mail.verification") == 1
    with superuser.cursor() as cursor:
        cursor.execute("select state, error::text from app.dead_jobs where actor = 'mail.verification'")
        ((state, error),) = cursor.fetchall()
    assert state == "dead"
    assert "No such user" in error


def test_missing_server_is_an_error_to_retry(monkeypatch):
    monkeypatch.setattr(smtp, "settings", replace(settings, smtp_url="smtp://127.0.0.1:1"))
    message = smtp.compose(templates.render("verification", "en", link="x"), "ana@example.com", "job-1")

    with pytest.raises(OSError, match="refused"):
        smtp.send(message)


def test_answer_of_any_number_of_lines_ends_the_connection(monkeypatch, hostile_server):
    server = hostile_server(silent=True, trickle=b"220-" + b"x" * 8_000 + b"\r\n")
    monkeypatch.setattr(smtp, "settings", replace(smtp.settings, smtp_url=f"smtp://127.0.0.1:{server.port}"))
    ended = []

    def send():
        with pytest.raises(smtplib.SMTPServerDisconnected, match="more than 65536 bytes"):
            smtp.send(smtp.Mail("a@companon.example", "b@fans.example", b""))
        ended.append(True)

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    sending.join(PATIENCE)

    assert ended


def test_quit_answered_with_an_error_leaves_the_mail_sent_once(drain, mailbox, sign_up):
    for sent, answer in enumerate(("421 bye", "554 No", "garbage"), 1):
        mailbox.answers["QUIT"] = [answer]
        sign_up(f"fan{sent}@example.com")

        ran = drain()

        assert ran.count("mail.verification") == 1
        assert len(mailbox.recipients) == sent


def test_mail_that_cannot_be_composed_becomes_a_dead_letter(drain, mailbox, sign_up, member, superuser):
    sign_up()
    superuser.cursor().execute("update app.signups set email = '=?utf-8?q?a=0ab?=@example.com'")
    with transaction(context.for_system_job()):
        enqueue("mail.account_notice", member("Creator").user_id, "no_such_template")

    ran = drain(allow_dead=True)

    assert sorted(ran) == ["mail.account_notice", "mail.verification"]
    assert mailbox.recipients == []


HOSTILE = st.lists(
    st.one_of(
        st.text(),
        st.sampled_from(
            ["=?utf-8?q?x=0ABcc:=20evil=40evil.example?=", "\r\nBcc: evil@evil.example", "?=", "=?", " ", "ñ" * 40]
        ),
        st.text("abc ", min_size=70),
    )
).map("".join)


def header_of(content, name):
    """Return the lines of a header, and its text as a mail program shows it."""
    message = message_from_bytes(content)
    raw = message.get_all(name)
    assert len(raw) == 1
    return raw[0], str(make_header(decode_header("".join(raw[0].splitlines()))))


@given(HOSTILE)
def test_subject_of_any_text_decodes_to_that_text(text):
    subject = text.encode(errors="replace").decode()
    content = smtp.compose(templates.RenderedMail("en", subject, "text", "html"), "ana@example.com", "job-1").content

    head = content.partition(b"\r\n\r\n")[0].decode("ascii")
    assert header_of(content, "Subject")[1] == subject
    assert [line.partition(":")[0] for line in head.split("\r\n") if not line.startswith(" ")] == FIELDS
    assert all(len(line) <= 76 for line in head.split("\r\n") if not line.startswith("Content-Type"))
    assert "\r" not in head.replace("\r\n", "")


FIELDS = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "Content-Language",
    "Auto-Submitted",
    "MIME-Version",
    "Content-Type",
]


@given(HOSTILE)
def test_sender_name_of_any_text_stays_a_name(text):
    name = " ".join(re.sub(r"[<\"\x00-\x20\x7f-\x9f\u2028\u2029]", " ", text).encode(errors="replace").decode().split())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smtp, "settings", replace(settings, mail_from=f"{name} <no-reply@companon.example>"))
        content = smtp.compose(templates.RenderedMail("en", "x", "text", "html"), "ana@example.com", "job-1").content

    raw, shown = header_of(content, "From")
    assert shown == f"{name} <no-reply@companon.example>".strip() if name else "no-reply@companon.example"
    assert raw.count("<no-reply@companon.example>") == bool(name)


def test_subject_with_brand_name_arrives_as_the_template_says(mailbox):
    brands = ("=?utf-8?q?x=0ABcc:=20evil=40evil.example=0A=0Aowned?=", "Señora Muñoz Peña Ibáñez Núñez " * 3)
    cases = product(brands, ("invitation", "mfa_required"), ("en", "es"))
    for number, (brand, name, language) in enumerate(cases):
        mail = templates.render(name, language, brand=brand, link="x", when="x")

        smtp.send(smtp.compose(mail, "ana@example.com", f"job-{number}"))

        assert " ".join(brand.split()) in mail.subject
        assert mailbox.messages[-1]["Bcc"] is None
        assert header_of(mailbox.messages[-1].as_bytes(), "Subject")[1] == mail.subject
    assert len(mailbox.messages) == 8


def test_production_sends_nothing_unencrypted(monkeypatch, mailbox):
    monkeypatch.setattr(smtp, "settings", replace(smtp.settings, environment="production"))
    message = smtp.compose(templates.render("verification", "en", link="x"), "ana@example.com", "job-1")

    with pytest.raises(OSError, match="TLS"):
        smtp.send(message)
    assert mailbox.messages == []


LIVES = [
    ("mail.verification", accounts.SIGNUP, "app.signups", "expires_at", timedelta(hours=24)),
    ("mail.invitation", invitations.LINK_PURPOSE, "app.invitations", "expires_at", timedelta(days=7)),
    ("mail.password_reset", credentials.RESET, "app.password_resets", "expires_at", timedelta(hours=1)),
    ("mail.email_undone", credentials.RESET, "app.password_resets", "expires_at", timedelta(hours=1)),
    ("mail.email_change", credentials.CONFIRM, "app.email_changes", "expires_at", timedelta(hours=24)),
    ("mail.email_changed", credentials.UNDO_CHANGE, "app.email_changes", "undo_until", timedelta(days=7)),
]


@pytest.fixture
def ask_for(admin, member, sign_up, drain, mailbox, client):
    """Make the request that enqueues a mail. Its job is waiting afterwards."""

    def ask_for(mail):
        person = member("Brand Admin")
        match mail:
            case "mail.verification":
                sign_up()
            case "mail.invitation":
                with admin.acting():
                    brands.create("Acme", {}, "boss@example.com")
            case "mail.password_reset":
                client.post("/api/v1/auth/password/forgot", json={"email": person.email})
            case _:
                client.post("/api/v1/users/me/email", json={"email": "new@example.com"}, token=person.token)
        if mail in ("mail.email_changed", "mail.email_undone"):
            drain()
            client.post("/api/v1/auth/email/confirm", json={"token": mailbox.token("new@example.com")})
        if mail == "mail.email_undone":
            drain()
            client.post("/api/v1/auth/email/undo", json={"token": mailbox.token(person.email)})

    return ask_for


@pytest.mark.parametrize(("mail", "purpose", "table", "expiry", "lifetime"), LIVES)
def test_link_lifetime_begins_at_the_first_accepted_mail(
    mailbox, ledger, runner, query, ask_for, mail, purpose, table, expiry, lifetime
):
    def remaining():
        ((seconds,),) = query(
            f"select extract(epoch from {expiry} - now())::float8 from {table} order by created_at desc limit 1"
        )
        return timedelta(seconds=seconds)

    def attempt():
        query("update app.jobs set due_at = now() where actor = %s", mail)
        (claim,) = ledger.claim(take(ledger, mail), 1)
        return runner.run(claim), claim

    day, near = timedelta(days=1), timedelta(minutes=2)
    ask_for(mail)
    assert lifetime + day - near < remaining() <= lifetime + day

    mailbox.answers["RCPT"] = ["451 Greylisted"]
    assert attempt()[0] == "retry"
    assert lifetime + day - near < remaining()

    ending, claim = attempt()
    assert ending == "done"
    assert lifetime - near < remaining() <= lifetime

    query(f"update {table} set {expiry} = {expiry} - interval '30 minutes'")
    with transaction(identity_of(registry.find(mail), claim)):
        signed_links.start_lifetime(purpose, UUID(claim.args[0]), lifetime)
    assert remaining() <= lifetime - timedelta(minutes=29)


def test_sign_up_verified_before_its_mail_gets_no_mail(drain, mailbox, sign_up, superuser):
    sign_up()
    superuser.cursor().execute("delete from app.signups")

    assert "mail.verification" in drain()
    assert mailbox.messages == []


def test_invitation_names_the_brand_in_the_brands_language(admin, drain, mailbox):
    with admin.acting():
        brands.create("Señal & Cía", {"locale": "es"}, "boss@example.com")
    drain()

    assert mailbox.to("boss@example.com")[0]["Subject"] == "Te invitan a unirte a Señal & Cía en Compañon"
    assert "Señal &amp; Cía" in mailbox.text("boss@example.com", "html")
    assert "/accept-invitation?lang=es#token=" in mailbox.text("boss@example.com")


def test_invitation_of_brand_with_invalid_locale_is_sent(admin, drain, mailbox):
    with admin.acting():
        brands.create("Acme", {"locale": ["es", {"x": 1}]}, "boss@example.com")
    drain()

    assert "invited" in mailbox.to("boss@example.com")[0]["Subject"]
