"""Brands beneath HTTP: invitations, and whose they are."""

import pytest

from models.core import context
from models.core.database import transaction, value
from models.core.errors import NotFound, Problem
from models.tenants import brands, invitations


def test_an_invitation_enqueues_its_mail_as_the_brands_job(admin, brand):
    with admin.acting():
        invitation_id = invitations.invite(brand["id"], "new@brand.example", "Creator")

    with transaction(context.for_brand_job(brand["id"])):
        assert value("SELECT count(*) FROM app.jobs WHERE actor = 'mail.invitation'") == 1
        assert invitations.mail(invitation_id) == {
            "email": "new@brand.example",
            "locale": "en",
            "brand": brand["name"],
        }


def test_another_brands_job_does_not_see_an_invitation(admin, make_brand):
    own, other = make_brand("Own"), make_brand("Other")
    with admin.acting():
        invitation_id = invitations.invite(own["id"], "new@brand.example", "Creator")

    with transaction(context.for_brand_job(other["id"])):
        assert invitations.mail(invitation_id) is None


def test_an_address_with_an_account_is_not_invited(admin, brand, member):
    manager = member("Campaign Manager")

    with pytest.raises(Problem) as refused, admin.acting():
        invitations.invite(brand["id"], manager.email, "Creator")

    assert refused.value.code == "already_member"


def test_a_brand_is_made_with_its_invitation_or_not_at_all(admin):
    with pytest.raises(Problem) as refused, admin.acting():
        brands.create("Acme", {}, admin.email)

    assert refused.value.code == "email_in_use"
    with admin.acting():
        assert brands.page(10) == []


def test_a_member_finds_only_the_own_brand(make_brand, member):
    own, other = make_brand("Own"), make_brand("Other")

    with member("Creator", own).acting():
        assert [found.id for found in brands.page(10)] == [own["id"]]
        with pytest.raises(NotFound):
            brands.get(other["id"])
