"""Sign in over the API with a password and, if the account has an authenticator, a one-time code."""

from collections.abc import Callable, Iterable

from scripts.devstack.api import HttpApi, Refused
from scripts.devstack.progress import SetupError


def sign_in(api: HttpApi, email: str, password: str, codes: Callable[[], Iterable[str]]) -> None:
    """Sign in. The client sends the access token with later requests.

    Args:
        api: the client.
        email: address of the account.
        password: its password.
        codes: returns codes to try in turn; called only if the session needs one.

    Raises:
        Refused: the API refused the password, or every code.
        SetupError: the account must enrol an authenticator first.
    """
    session = api.call("POST", "/api/v1/auth/login", {"email": email, "password": password})
    api.token = session["access_token"]
    if session.get("mfa_required") == "enrol":
        raise SetupError(f"{email} has no authenticator yet: enrol one first (POST /api/v1/users/me/mfa)")
    if session.get("mfa_required"):
        _show_code(api, codes())


def _show_code(api: HttpApi, codes: Iterable[str]) -> None:
    problem: Refused | None = None
    for code in codes:
        try:
            api.token = api.call("POST", "/api/v1/auth/mfa/verify", {"code": code.strip()})["access_token"]
            return
        except Refused as refused:
            if refused.status != 403:
                raise
            problem = refused
    assert problem is not None
    raise problem
