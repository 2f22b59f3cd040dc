"""TLS contexts of connections to other systems."""

import os
import ssl
from functools import lru_cache


def client_context(*, requires_close_notify: bool = False) -> ssl.SSLContext:
    """Return the shared context of client connections. It trusts the authorities of the machine.

    Reading their certificates takes about 50 ms of a processor, so it is done once for each value of `SSL_CERT_FILE`
    and `SSL_CERT_DIR`. A process has to be restarted to see a changed file.

    Args:
        requires_close_notify: whether a connection that ends without a TLS close is an error. Python ignores a missing
            one by default; a response without a length that was truncated would then look complete.
    """
    return _context(requires_close_notify, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _context(requires_close_notify: bool, *_authorities: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if requires_close_notify:
        context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    return context
