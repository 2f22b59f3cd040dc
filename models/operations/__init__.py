"""Operations: metrics, housekeeping and the check of settings before production.

Tables: `app.heartbeats`, `app.job_counts`, `app.schedule_occurrences`.
Public modules: `metrics` reads metrics of jobs, mails and the audit trail; `housekeeping` deletes expired rows of
`core`, `jobs` and `operations` (other domains delete their own); `settings_check` refuses settings that are not fit for
production; `startup` reports the start of a process; `personal_data` declares personal data.
May import: `privacy` and the domains below it.
"""
