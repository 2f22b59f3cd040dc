"""Fixtures of the tests of identity endpoints."""

import pytest

from models.identity import totp
from tests.fixtures.accounts import forget_code

MFA = "/api/v1/users/me/mfa"


@pytest.fixture
def enrolled(client, member, superuser):
    """Return a member with an authenticator: account, secret, and the answer to the first code."""
    manager = member()
    secret = client.post(MFA, token=manager.token).json["secret"]
    confirmed = client.post(f"{MFA}/confirm", json={"code": totp.code(secret)}, token=manager.token).json
    forget_code(superuser, manager.user_id)
    return manager, secret, confirmed
