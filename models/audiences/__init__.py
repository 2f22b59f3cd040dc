"""Audiences: segments, contacts, and the engagements of fans with campaigns.

Owns the tables `public.audience_segments`, `public.segment_queries`, `public.campaign_audience`, `public.contacts` and
`public.engagements`; `models.scans.scoring` writes the engagements.

Public modules: `contacts`, `segments`, `personal_data`.
May import: `tenants` and the domains below it.
"""
