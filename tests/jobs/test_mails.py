"""Mails: what they say, and what becomes of them when the server has another opinion."""

import re
from dataclasses import replace

import pytest

from jobs import letters, smtp
from models import accounts, brands, context, passwords
from models.db import transaction
from settings import settings

LETTERS = sorted({tuple(path.name.split(".")[:2]) for path in letters.TEMPLATES.glob("*.txt")})


@pytest.fixture
def sign_up(mailbox, db_clean):
    """Signs somebody up, without HTTP."""

    def sign_up(email="ana@example.com", locale="en"):
        with transaction(context.nobody()):
            accounts.sign_up(email, passwords.hash("una clave muy larga"), "Ana", locale, [])

    return sign_up


@pytest.mark.parametrize(("name", "language"), LETTERS)
def test_every_letter_says_the_same_in_text_and_html(name, language):
    letter = letters.write(name, language, link="https://x.example/?token=a&b", brand="Acme", when="2026-12-01")

    assert letter.subject
    assert "https://x.example/?token=a&b" in letter.text
    assert 'href="https://x.example/?token=a&amp;b"' in letter.html
    assert f'<html lang="{language}">' in letter.html
    assert "$" not in letter.subject + letter.text + letter.html


def test_every_letter_is_there_in_english_and_spanish():
    names = {name for name, _ in LETTERS}

    assert set(LETTERS) == {(name, language) for name in names for language in ("en", "es")}


@pytest.mark.parametrize(
    ("locale", "language"), [("es-MX", "es"), ("fr", "en"), ("../en", "en"), ("x" * 9000, "en"), ("", "en")]
)
def test_a_letter_is_in_the_nearest_language(locale, language):
    assert f'lang="{language}"' in letters.write("verification", locale, link="x").html


def test_what_a_brand_calls_itself_is_text_and_nothing_else():
    letter = letters.write("invitation", "en", link="x", brand="<script>$link\r\nBcc: all@example.com")

    assert "<script>" not in letter.html
    assert "\n" not in letter.subject
    assert "\r" not in letter.subject


def test_a_mail_has_both_forms_and_says_that_nobody_wrote_it(drain, mailbox, sign_up):
    sign_up(locale="es-MX")
    drain()

    (message,) = mailbox.to("ana@example.com")
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["Subject"] == "Confirma tu dirección de correo"
    assert message["From"].addresses[0].display_name == "Compañon"
    assert message["Auto-Submitted"] == "auto-generated"
    link = re.search(r"https?://\S+", mailbox.text("ana@example.com"))
    assert link
    assert link[0].startswith(f"{settings.frontend_url}/verify-email#token=")


def test_a_mail_that_is_tried_again_is_recognised_as_one(drain, mailbox, monkeypatch, sign_up):
    send, ids = smtp.send, []

    def fails_after_sending(message):
        ids.append(message["Message-ID"])
        send(message)
        if len(ids) == 1:
            raise TimeoutError("the server's last word was lost")

    monkeypatch.setattr(smtp, "send", fails_after_sending)
    sign_up()
    drain()

    assert len(ids) == 2
    assert len(set(ids)) == 1


@pytest.mark.parametrize("when", ["RCPT", "DATA"])
def test_a_mail_that_the_server_cannot_take_now_is_sent_later(drain, mailbox, sign_up, when):
    mailbox.answers[when] = ["451 Try again", "421 Busy"]
    sign_up()

    ran = drain()

    assert ran.count("mail.verification") == 3
    assert len(mailbox.to("ana@example.com")) == 1


@pytest.mark.parametrize("when", ["RCPT", "DATA"])
def test_a_mail_that_the_server_refuses_for_good_is_a_dead_letter_at_once(drain, mailbox, sign_up, superuser, when):
    mailbox.answers[when] = ["550 No such user"]
    sign_up()

    ran = drain(allow_dead=True)

    assert ran.count("mail.verification") == 1
    with superuser.cursor() as cursor:
        cursor.execute("select state, error::text from app.dead_jobs where actor = 'mail.verification'")
        ((state, error),) = cursor.fetchall()
    assert state == "dead"
    assert "No such user" in error


def test_a_server_that_is_not_there_is_an_error_that_is_tried_again(monkeypatch):
    monkeypatch.setattr(smtp, "settings", replace(settings, smtp_url="smtp://127.0.0.1:1"))
    message = smtp.compose(letters.write("verification", "en", link="x"), "ana@example.com", "job-1")

    with pytest.raises(OSError, match="refused"):
        smtp.send(message)


def test_production_sends_nothing_unencrypted(monkeypatch, mailbox):
    monkeypatch.setattr(smtp, "settings", replace(smtp.settings, environment="production"))
    message = smtp.compose(letters.write("verification", "en", link="x"), "ana@example.com", "job-1")

    with pytest.raises(OSError, match="TLS"):
        smtp.send(message)
    assert mailbox.messages == []


def test_a_sign_up_that_was_verified_before_its_mail_left_gets_none(drain, mailbox, sign_up, superuser):
    sign_up()
    superuser.cursor().execute("delete from app.signups")

    assert "mail.verification" in drain()
    assert mailbox.messages == []


def test_an_invitation_names_the_brand_in_the_brands_language(admin, drain, mailbox):
    with admin.acting():
        brands.create("Señal & Cía", {"locale": "es"}, "boss@example.com")
    drain()

    assert mailbox.to("boss@example.com")[0]["Subject"] == "Te invitan a unirte a Señal & Cía en Compañon"
    assert "Señal &amp; Cía" in mailbox.text("boss@example.com", "html")
    assert "/accept-invitation#token=" in mailbox.text("boss@example.com")


def test_a_brand_whose_settings_are_strange_sends_its_invitations_all_the_same(admin, drain, mailbox):
    with admin.acting():
        brands.create("Acme", {"locale": ["es", {"x": 1}]}, "boss@example.com")
    drain()

    assert "invited" in mailbox.to("boss@example.com")[0]["Subject"]
