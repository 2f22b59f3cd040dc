"""Identity: accounts, sessions, credentials, MFA, access tokens, API keys, permissions and Supabase mode.

Tables: users, roles, permissions, sessions, refresh tokens, authenticators, recovery codes, sign-ups, password resets,
changes of addresses, counters of attempts, API keys and ids of deleted users. Views: `app.active_users` and
`app.live_sessions`, the rules of session validity and of MFA owed.
Public modules: `accounts`, `signups`, `users`, `system_admin`, `sessions`, `credentials`, `mfa`, `totp`, `passwords`,
`breached_passwords`, `access_tokens`, `refresh_tokens`, `jwks`, `supabase`, `api_keys`, `permissions`, `step_up`,
`personal_data`.
May import: `consents`, `jobs`, `audit`, `core`.
"""
