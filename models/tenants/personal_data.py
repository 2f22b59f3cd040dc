"""Declare the personal data of brands and invitations."""

from models.core.personal_data import Category, Erasure, Export, NotPersonal, Personal, Table

PERSONAL = (
    Table(
        name="public.brands",
        not_personal=(NotPersonal(("name", "settings"), "data of a company"),),
    ),
    Table(
        name="app.invitations",
        purpose="Let an invited person join a brand.",
        retention="90 days after expiry",
        deleted_by="accounts.expire",
        found_by="email",
        personal=(
            Personal(("email",), Category.CONTACT, Erasure.DELETE),
            Personal(("invited_by",), Category.IDENTIFIER, Erasure.UNLINK, Export.OTHER_PERSON),
        ),
        not_personal=(NotPersonal(("mails",), "number of mails sent"),),
    ),
)
