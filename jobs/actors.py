"""Import each module that declares actors: `jobs/<domain>.py` and `jobs/<domain>/actors.py`."""

import jobs
from jobs.engine.discovery import declare_all

declare_all("jobs", jobs.__path__, without=("actors", "engine", "main"))
