"""Audit: entries of the trail, the hash chain of each tenant, checkpoints, retention and recorded refusals.

Tables: `audit_logs`, `audit_personal_values`, `audit_chains`, `audit_starts`, `audit_checkpoints`.
Public modules: `trail` records, lists and reads entries; `chain` seals and verifies them; `checkpoints` signs the heads
of all chains; `retention` deletes expired entries; `refusals` records refused requests; `actions` lists the names of
recorded acts; `personal_data` declares personal data.
May import: `core`.
"""
