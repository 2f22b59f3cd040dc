"""Own contacts (CRM) and segments.

Tables: `contacts`, `segments`. Public modules: `contacts`, `segments`.
Imports `tenants`, `identity`, `consents`, `audit`, `jobs`, `core`.
"""
