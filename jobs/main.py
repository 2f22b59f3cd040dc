"""Every actor, and the broker of this process: what `dramatiq jobs.main` runs."""

import dramatiq

import jobs.accounts
import jobs.audit
import jobs.campaigns
import jobs.consents
import jobs.contacts
import jobs.housekeeping
import jobs.mails
import jobs.overview
import jobs.scans  # noqa: F401
from jobs.engine.worker import make_broker
from models import logs, production
from settings import settings

production.require_fit(settings)
logs.configure(settings.log_level)

broker = make_broker(settings.transport_url)
dramatiq.set_broker(broker)
