"""Own the audit trail: entries, the hash chain of each tenant, checkpoints and retention.

Tables: `audit_logs`, their personal values, chains, checkpoints and refusal counters. Public modules: `trail`, `chain`,
`checkpoints`, `retention`, `refusals`.
Imports `core`.
"""
