"""Tenants: brands, their members, and the invitations by which people become members.

Owns the tables `public.brands`, `app.invitations` and `public.campaign_assignments`. Members are rows of
`public.users`, which the domain identity owns.

Public modules: `brands`, `members`, `invitations`, `assignments`, `personal_data`.
May import: `identity` and the domains below it.
"""
