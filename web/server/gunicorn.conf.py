# ruff: noqa: N999  (the name that gunicorn looks for)
"""gunicorn's configuration: `gunicorn --config web/server/gunicorn.conf.py web.app:application`."""

import sys
from typing import Any

from models.core import logs
from models.operations import settings_check
from settings import settings
from web.server import shutdown

settings_check.require_fit(settings, "web")  # before anything listens

bind = f"127.0.0.1:{settings.port}"
workers = settings.web_concurrency
worker_connections = settings.web_connections
worker_class = "web.server.worker.Worker"  # the asgi worker, whose own refusals are problem documents, too
asgi_loop = "uvloop"
asgi_lifespan = "on"
# The one that our edges are tested with, whatever else is installed: an older C parser frames bodies in its own way.
http_parser = "python"

# The default is one socket in the home directory, shared by every gunicorn of the machine.
control_socket_disable = True

timeout = 30
graceful_timeout = 20
keepalive = 5
backlog = 1024

# Nobody's word is taken for scheme or script name; the client's address is ours to find (web/http/middleware.py).
forwarded_allow_ips = ""

# Wider than our own limits (web/http/middleware.py), which answer with a problem document; these close the connection.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16_380

proc_name = "companon-web"
logconfig_dict = logs.config(settings.log_level)
logger_class = "web.server.worker.Logger"


def post_worker_init(worker: Any) -> None:
    """Set up the process that the application runs in."""
    # A thread that computes gives way to the event loop after half a millisecond instead of five.
    sys.setswitchinterval(0.0005)
    logs.log_uncaught()
    shutdown.watch(worker)
