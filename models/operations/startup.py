"""Report the start of a process in its log: version, settings without secrets, and doubtful variables."""

import logging
import os
from dataclasses import fields
from typing import Any

from models.operations import settings_check
from settings import VERSION, Settings, misspelt

logger = logging.getLogger(__name__)


def announce(settings: Settings, process: str, **more: Any) -> None:
    """Log that a process (its name in the Procfile) starts. `more` are further members of the line.

    Warn about names that look like misspelt variables, and, in production, about secrets that the process does not
    read. They don't stop the process: the platform may set variables that only resemble ours.
    """
    logger.info("%s starts", process, extra={**more, **_description(settings, process)})
    for name, known in misspelt(os.environ).items():
        logger.warning("unknown variable %s: did you mean %s?", name, known)
    unused = settings_check.unused_secrets(settings, process) if settings.environment == "production" else []
    if unused:
        logger.warning("%s does not use %s; remove them from its environment", process, ", ".join(unused))


def _description(settings: Settings, process: str) -> dict[str, Any]:
    read = {
        declared.metadata["env"]: getattr(settings, declared.name)
        for declared in fields(Settings)
        if process in declared.metadata["of"] and not declared.metadata["secret"]
    }
    return {"version": VERSION, "pid": os.getpid(), "settings": read}
