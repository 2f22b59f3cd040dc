"""Webhooks: events that are sent to servers of brands, by the Standard Webhooks specification.

Owns the tables `app.webhook_endpoints`, `app.webhook_outbox`, `app.webhook_attempts`. Public modules: `events` (the
types), `outbox` (publish and replay), `endpoints`, `signatures`, `targets` (which URLs may be called), `delivery`,
`attempts` (their log), `personal_data`. May import: `tenants` and the domains below it.
"""
