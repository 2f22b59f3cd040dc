"""Every actor, and the broker of this process: what `dramatiq jobs.main` runs."""

import dramatiq

import jobs.accounts  # noqa: F401
import jobs.audit  # noqa: F401
import jobs.campaigns  # noqa: F401
import jobs.consents  # noqa: F401
import jobs.contacts  # noqa: F401
import jobs.housekeeping  # noqa: F401
import jobs.mails  # noqa: F401
import jobs.overview  # noqa: F401
import jobs.scans  # noqa: F401
from jobs.engine.worker import make_broker
from models import logs
from settings import settings

logs.configure(settings.log_level)

broker = make_broker(settings.redis_url)
dramatiq.set_broker(broker)
