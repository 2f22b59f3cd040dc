"""Actors of campaigns: launches and ends, rewards, events with their check-ins, and venues.

`actors` declares those of the life cycle. `rewards` calls Locker, `events` calls Concierto, `venues` the geocoder.
"""
