"""Own campaigns, their configuration and their codes.

Tables: `campaigns`, `qr_codes`. Public modules: `campaigns` (status transitions), `config`, `codes`.
Imports `audiences`, `tenants`, `identity`, `consents`, `audit`, `jobs`, `core`.
"""
