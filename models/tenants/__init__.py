"""Own brands, their members and invitations.

Tables: `brands`, `brand_members`, `invitations`. Public modules: `brands`, `members`, `invitations`.
Imports `identity`, `consents`, `audit`, `jobs`, `core`.
"""
