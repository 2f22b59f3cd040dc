"""Scans of codes: the decision, its storage, the fraud score.

Tables: `public.qr_scans`, `public.device_fingerprints`, `app.limit_counters`, `app.limit_notices`,
`app.scan_refusals`. The database decides and stores scans in `app.record_scans` (migrations `*_scans_*.sql`).

Public modules: `recorder` (send batches of scans to the database), `outcomes` (accepted or refused, with the reason),
`description` (requirements of a code), `received_tests` (scans in test mode), `fraud` (rules and bands), `scoring`
(load the facts of the rules, apply scores), `standings` (what a scan has earned), `check_ins` (of fans, by their own
scan), `limit_counters`, `refusal_counts` (retention), `tables` (class of the
table of scans), `personal_data`. Queries read the view `app.real_scans`, which leaves out scans in test mode.

May import: `campaigns` and the domains below it.
"""
