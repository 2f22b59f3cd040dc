"""Audiences: segments, contacts, and the engagements of fans with campaigns.

Owns the tables `public.audience_segments`, `public.segment_queries`, `public.segment_dependencies`,
`app.segment_preview_counts`, `public.campaign_audience`, `public.campaign_members`, `public.contacts`,
`public.engagement_events`, `app.engagement_outbox`, `app.activity_outbox`, `app.segment_outbox`, `public.engagements`,
`public.conversions`, `public.contact_sync`,
`public.contact_sync_state`, `public.fan_traits`, `public.contact_activity`, `app.segment_changes`,
`public.contact_imports`, `public.contact_import_rows`, `public.contact_import_keys`, `public.contact_exports`,
`public.contact_properties`, `public.contact_notes`, `public.contact_merges` and `public.campaign_metrics`.

Public modules: `contacts`, `profile` and `properties` (fields of contacts), `contact_list`, `notes`, `merging`,
`timeline`, `contact_sync` (both directions with CALS), `conversions`, `engagement_events` (every domain whose rows
are engagements records its events there), `engagement_outbox` (their way to Coliseum), `activity_outbox` (to CALS),
`engagements` (folded from the events), `activity` (of contacts, by day), `changes` (marks of changed contacts),
`membership` (applies them), `live_metrics`, `segments`, `dsl` (their grammar), `compiler` (to SQL), `preview`,
`traits` (of fans, copied from MediaID), `transfer` (import and export), `personal_data`.
May import: `tenants` and the domains below it.
"""
