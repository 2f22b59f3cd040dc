"""The table of recurring jobs, and the clock that enqueues them."""
