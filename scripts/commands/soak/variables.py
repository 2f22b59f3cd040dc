"""The environment variables by which the chaos suite's processes are told what is theirs."""

URL = "CHAOS_OUTSIDE"
"""Where the outside world is."""
LIMIT = "CHAOS_LIMIT"
"""The time limit of `chaos.brief`, in seconds; a minute where it isn't said."""
