"""Own consent notices and the consents that people give under them.

Tables: `consent_notices`, `consents`, `consent_events`. Public module: `consents`.
Imports `audit`, `jobs`, `core`.
"""
