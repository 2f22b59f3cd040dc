"""Start a long-running process: relay, clock or seal."""

import signal
import threading
from types import FrameType

from models.core import logs
from models.operations import settings_check, startup
from settings import settings


def begin(name: str) -> threading.Event:
    """Check the settings of a process, configure its log, and return the event that SIGTERM and SIGINT set.

    Args:
        name: the process's name in the Procfile.

    Raises:
        UnfitForProduction: the settings are not fit for production.
    """
    settings_check.require_fit(settings, name)
    logs.configure(settings.log_level)
    startup.announce(settings, name)
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopping
