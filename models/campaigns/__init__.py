"""Campaigns: configuration, status transitions, launch, schedule, history, and printed codes.

Owns the tables `public.campaigns`, `public.campaign_versions`, `public.qr_codes`, `public.tickets`, `public.guests`,
`public.check_ins`, `public.venue_lookups`, `public.rewards` and `public.reward_stocks`.

Public modules: `statuses` (statuses, transitions, changeable fields), `campaigns` (create, read, replace, archive,
transitions), `audience` (the segments of a campaign), `search` (list), `history` (earlier configurations), `config`
(rules for scans), `launch`, `schedule` (scheduled launch and end), `codes` (printed codes and their signed tokens),
`events`, `tickets`, `guests`, `check_ins` (admission to events), `venues` (positions of addresses), `rewards` (what
scans have earned), `reward_codes` (one-time codes of rewards and their redemption), `reward_stocks`, `personal_data`.
May import: `audiences` and the domains below it.
"""
