# ruff: noqa: N999  (the name that gunicorn looks for)
"""gunicorn's configuration: `gunicorn --config web/server/gunicorn.conf.py web.app:application`."""

import logging
import sys
from typing import Any

from models.core import logs
from models.operations import settings_check, startup
from settings import settings
from web.server import shared_metrics, shutdown

settings_check.require_fit(settings, "web")  # before a socket is bound
shared_metrics.begin()  # before any import of prometheus-client, which chooses its mode then

bind = f"127.0.0.1:{settings.port}"
workers = settings.web_concurrency
worker_connections = settings.web_connections
worker_class = "web.server.worker.Worker"  # refuses requests with problem documents, and limits slow clients
asgi_loop = "uvloop"
asgi_lifespan = "on"
# The C parser accepts requests that tests/contract/test_sockets.py refuses (docs/decisions/0036).
http_parser = "python"

# The default socket is in the home directory and shared by all gunicorns of the machine.
control_socket_disable = True

timeout = 30
graceful_timeout = 20
keepalive = 5
backlog = 1024

# Trust no peer for scheme and script name. The client's address is found by web/http/client_address.py.
forwarded_allow_ips = ""

# Wider than the limits of web/http/middleware.py, which keep the connection open; these close it.
limit_request_line = 8190
limit_request_fields = 100
limit_request_field_size = 16_380

proc_name = "companon-web"
logconfig_dict = logs.config(settings.log_level)
logger_class = "web.server.worker.Logger"


def on_starting(server: Any) -> None:
    """Report the start in the log. Runs in the master, after its log is configured."""
    logging.captureWarnings(True)
    startup.announce(settings, "web")


def child_exit(server: Any, worker: Any) -> None:
    """Keep the counters of a process that has ended. Runs in the master."""
    shared_metrics.retire(worker.pid)


def on_exit(server: Any) -> None:
    """Delete the files of the metrics. Runs in the master."""
    shared_metrics.end()


def post_worker_init(worker: Any) -> None:
    """Set up a process that serves the application."""
    # A computing thread yields to the event loop after 0.5 ms; the default is 5 ms.
    sys.setswitchinterval(0.0005)
    logs.log_uncaught()
    shutdown.watch(worker)
