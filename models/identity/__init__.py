"""Own people's accounts and every way to prove an identity.

Tables: users, credentials, sessions, refresh tokens, authenticators, recovery codes, sign-ups and API keys. Public
modules:
`accounts`, `signups`, `users`, `sessions`, `credentials`, `mfa`, `totp`, `passwords`, `breached_passwords`,
`access_tokens`,
`refresh_tokens`, `jwks`, `supabase`, `api_keys`, `permissions`, `step_up`.
Imports `consents`, `audit`, `jobs`, `core`.
"""
