"""Consents: notices, the consents that people give under them, and the record of each change.

Owns the tables `public.consent_notices`, `public.consents`, `public.consent_events` and `public.consent_uses`. SQL
owns the rules: a consent in force is `app.consent_is_in_force`, a notice in force is `app.notice_in_force`, and only
SQL functions change consents.

Public modules: `consents`, `notices`, `uses` (of personal data), `personal_data`.
May import: `jobs`, `audit`, `core`.
"""
