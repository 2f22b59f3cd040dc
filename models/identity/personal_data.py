"""Declare the personal data of accounts, sessions and credentials."""

from models.core.personal_data import (
    FIXED_LIST,
    NAME_IN_CODE,
    UNTIL_ERASURE,
    Category,
    Erasure,
    Export,
    NotPersonal,
    Personal,
    Table,
)

_BRAND_KEY = "a credential of the brand"

PERSONAL = (
    Table(
        name="public.users",
        purpose="Identify a person, sign them in and write to them.",
        retention=f"{UNTIL_ERASURE}; anonymous people without scans, consents and contacts 1 day",
        deleted_by="accounts.expire",
        found_by="id",
        personal=(
            Personal(("id",), Category.IDENTIFIER, Erasure.PSEUDONYM),
            Personal(("email", "name", "phone"), Category.CONTACT, Erasure.CLEAR),
            Personal(("password_hash",), Category.CREDENTIAL, Erasure.CLEAR, Export.SECRET),
            Personal(("identity_provider",), Category.CREDENTIAL, Erasure.CLEAR),
            Personal(("locale", "timezone"), Category.PREFERENCE, Erasure.CLEAR),
        ),
    ),
    Table(name="public.roles", not_personal=(NotPersonal(("name",), FIXED_LIST),)),
    Table(name="public.permissions", not_personal=(NotPersonal(("name", "meaning"), FIXED_LIST),)),
    Table(name="public.role_permissions", not_personal=(NotPersonal(("role", "permission"), FIXED_LIST),)),
    Table(
        name="app.sessions",
        purpose="Keep a person signed in, and show them their devices.",
        retention="90 days after the session is over",
        deleted_by="accounts.expire",
        found_by="user_id",
        personal=(
            Personal(("id", "user_id"), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("address", "user_agent"), Category.NETWORK, Erasure.CASCADE),
        ),
        not_personal=(NotPersonal(("aal",), FIXED_LIST),),
    ),
    Table(
        name="app.refresh_tokens",
        purpose="Continue a session without a password.",
        retention="`SESSION_IDLE_DAYS` after use",
        deleted_by="accounts.expire",
        found_by="session_id = app.sessions.id",
        personal=(
            Personal(("session_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("hash", "successor", "successor_hash"), Category.CREDENTIAL, Erasure.CASCADE, Export.SECRET),
        ),
    ),
    Table(
        name="app.sign_in_attempts",
        purpose="Limit guesses of passwords and codes, and mails to one address.",
        retention="the window of the counter",
        deleted_by="accounts.expire",
        found_by="user_id",
        personal=(
            Personal(("key",), Category.NETWORK, Erasure.EXPIRE, Export.INTERNAL),
            Personal(("user_id",), Category.IDENTIFIER, Erasure.EXPIRE, Export.INTERNAL),
        ),
    ),
    Table(
        name="app.signups",
        purpose="Confirm the address of a new account.",
        retention="the life of the link",
        deleted_by="accounts.expire",
        found_by="email",
        personal=(
            Personal(("email",), Category.CONTACT, Erasure.DELETE),
            Personal(("locale",), Category.PREFERENCE, Erasure.DELETE),
        ),
    ),
    Table(
        name="app.password_resets",
        purpose="Let a person choose a new password.",
        retention="the life of the link",
        deleted_by="accounts.expire",
        found_by="user_id",
        personal=(Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),),
    ),
    Table(
        name="app.email_changes",
        purpose="Confirm a new address of an account, and undo the change.",
        retention="the life of the link, or the time to undo the change",
        deleted_by="accounts.expire",
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("old_email", "new_email"), Category.CONTACT, Erasure.CASCADE),
            Personal(("audited",), Category.CONTACT, Erasure.CASCADE, Export.INTERNAL),
        ),
    ),
    Table(
        name="app.totp_factors",
        purpose="Check a person's second factor.",
        retention=f"{UNTIL_ERASURE}; unconfirmed ones 1 day",
        deleted_by="accounts.expire",
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("secret",), Category.CREDENTIAL, Erasure.CASCADE, Export.SECRET),
        ),
    ),
    Table(
        name="app.recovery_codes",
        purpose="Replace a lost second factor.",
        retention=UNTIL_ERASURE,
        found_by="user_id",
        personal=(
            Personal(("user_id",), Category.IDENTIFIER, Erasure.CASCADE),
            Personal(("hash",), Category.CREDENTIAL, Erasure.CASCADE, Export.SECRET),
        ),
    ),
    Table(
        name="app.deleted_users",
        purpose="Refuse the old tokens of a deleted account.",
        retention="without limit",
        found_by="user_id",
        personal=(Personal(("user_id",), Category.IDENTIFIER, Erasure.PSEUDONYM),),
    ),
    Table(
        name="app.api_keys",
        purpose="Show which member created a key of the brand.",
        retention=UNTIL_ERASURE,
        found_by="created_by",
        personal=(Personal(("created_by",), Category.IDENTIFIER, Erasure.UNLINK),),
        not_personal=(
            NotPersonal(("name", "prefix", "key_hash"), _BRAND_KEY),
            NotPersonal(("scopes",), NAME_IN_CODE),
        ),
    ),
)
