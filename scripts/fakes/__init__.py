"""Stand-ins for what can't be had on a developer's machine."""
