"""Import each module that declares actors."""

import jobs.audiences
import jobs.audit.actors
import jobs.campaigns
import jobs.consents
import jobs.identity
import jobs.insights
import jobs.mail.actors
import jobs.operations
import jobs.scans
import jobs.tenants
