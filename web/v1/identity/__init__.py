"""Endpoints of accounts, sessions, credentials, MFA, users and API keys."""
