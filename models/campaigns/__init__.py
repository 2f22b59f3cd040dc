"""Campaigns: configuration, status transitions, launch, and printed codes.

Owns the tables `public.campaigns` and `public.qr_codes`.

Public modules: `campaigns` (create, read, replace, transitions), `config` (rules for scans), `launch`, `codes` (printed
codes and their signed tokens), `personal_data`.
May import: `audiences` and the domains below it.
"""
