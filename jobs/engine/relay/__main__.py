"""The `relay` process: `python -m jobs.engine.relay`."""

import jobs.actors  # noqa: F401  (declares the actors)
from jobs.engine import process
from jobs.engine.ledger import Ledger
from jobs.engine.relay.relay import Relay
from jobs.engine.transports import connect
from settings import settings


def main() -> None:
    """Run the relay until SIGTERM or SIGINT."""
    stopping = process.begin("relay")
    Relay(Ledger(), connect(settings.transport_url)).run(stopping)


if __name__ == "__main__":
    main()
