"""Environment variables of the chaos suite's processes."""

VENDOR_URL = "CHAOS_VENDOR_URL"
"""URL of the vendor."""
TIME_LIMIT = "CHAOS_TIME_LIMIT"
"""Time limit of `chaos.brief` in seconds, 60 by default."""
