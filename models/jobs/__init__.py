"""Jobs: the ledger as the rules of other domains use it.

Tables: `app.jobs`, `app.job_keys`, `app.job_history`, `app.dead_jobs`, `app.job_groups`, `app.actors`,
`app.paused_actors`, `app.brand_shares`, `app.actor_rates`, `app.relay_lock`.

Public modules: `ledger` (enqueue a job, look it up), `groups` (batches and chains), `dead_letters` (search and replay),
`control` (cancel, pause, trail of a request), `wakeup` (wake the relay), `brokers` (broker URLs and clients),
`personal_data`.
May import: `core`.
"""
