"""Every actor, by import: each module declares its own."""

import jobs.accounts
import jobs.audit
import jobs.brands
import jobs.campaigns
import jobs.consents
import jobs.contacts
import jobs.housekeeping
import jobs.mails
import jobs.overview
import jobs.scans  # noqa: F401
