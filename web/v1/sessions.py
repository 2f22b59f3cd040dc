"""Sessions: what goes on in one after its person has signed in."""

import msgspec
from falcon.asgi import Request, Response

from models import reauthentication
from models.errors import TooMany
from models.reauthentication import WrongPassword
from web.endpoint import audited, endpoint
from web.v1.fields import Password


class ReauthenticationIn(msgspec.Struct, forbid_unknown_fields=True):
    """What shows that it is still the same person."""

    password: Password


class Reauthentication:
    """`/api/v1/auth/reauthenticate`: show once more who one is."""

    @endpoint(
        body=ReauthenticationIn,
        status=204,
        permission="authenticated",
        audit="session.reauthenticate",
        slow=True,
        outward=True,
        problems=(WrongPassword, TooMany),
    )
    def on_post(self, req: Request, resp: Response) -> None:
        """For the next ten minutes, this session may do what `recent_authentication_required` is asked for."""
        identity = req.context.identity
        audited(req, table="sessions", record_id=identity.session_id)
        reauthentication.with_password(identity, req.context.body.password)


ROUTES: list[tuple[str, object]] = [
    ("/api/v1/auth/reauthenticate", Reauthentication()),
]
