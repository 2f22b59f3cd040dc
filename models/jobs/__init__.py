"""Own the job ledger as domain rules use it: enqueue, groups, dead letters and control.

Tables: `app.jobs`, `app.job_history`, `app.dead_jobs`, `app.job_groups` and their relatives. Public modules:
`ledger`, `groups`,
`dead_letters`, `control`, `wakeup`, `brokers`.
Imports `core`.
"""
