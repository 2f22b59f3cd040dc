"""Campaigns: configuration, status transitions, launch, schedule, history, and printed codes.

Owns the tables `public.campaigns`, `public.campaign_versions`, `public.qr_codes`, `public.tickets`, `public.guests`,
`public.check_ins` and `public.venue_lookups`.

Public modules: `statuses` (statuses, transitions, changeable fields), `campaigns` (create, read, replace, archive,
transitions), `search` (list), `history` (earlier configurations), `config` (rules for scans), `launch`, `schedule`
(scheduled launch and end), `codes` (printed codes and their signed tokens), `events`, `tickets`, `guests`,
`check_ins` (admission to events), `venues` (positions of addresses), `personal_data`.
May import: `audiences` and the domains below it.
"""
