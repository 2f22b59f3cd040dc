"""Endpoints of audiences: engagement events, conversions, a fan's own engagements."""
