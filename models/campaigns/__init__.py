"""Campaigns: configuration, status transitions, launch, schedule, history, and printed codes.

Owns the tables `public.campaigns`, `public.campaign_versions` and `public.qr_codes`.

Public modules: `statuses` (statuses, transitions, changeable fields), `campaigns` (create, read, replace, archive,
transitions), `search` (list), `history` (earlier configurations), `config` (rules for scans), `launch`, `schedule`
(scheduled launch and end), `codes` (printed codes and their signed tokens), `personal_data`.
May import: `audiences` and the domains below it.
"""
