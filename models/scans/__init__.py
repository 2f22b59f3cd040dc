"""Scans: decided by the database in `app.record_scans`, scored afterwards."""

from models.scans.counters import expire_counters
from models.scans.description import Description, describe
from models.scans.outcomes import KINDS, Accepted, Outcome, Refused, ScanRefused, require_accepted
from models.scans.recorder import MAX_BATCH, Attempt, Recorder
from models.scans.refusals import merge_refusals
from models.scans.scoring import Scored, Subject, apply, begin_rescoring, begin_scoring, followers, with_history
from models.scans.tables import QrScan

__all__ = [
    "KINDS",
    "MAX_BATCH",
    "Accepted",
    "Attempt",
    "Description",
    "Outcome",
    "QrScan",
    "Recorder",
    "Refused",
    "ScanRefused",
    "Scored",
    "Subject",
    "apply",
    "begin_rescoring",
    "begin_scoring",
    "describe",
    "expire_counters",
    "followers",
    "merge_refusals",
    "require_accepted",
    "with_history",
]
