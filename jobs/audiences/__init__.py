"""Actors of audiences: engagements, segments, contacts and their synchronisation, import and export.

`actors` declares those of engagements and segments. `contact_sync` calls CALS, `mediaid` calls MediaID, `transfer`
imports and exports contacts.
"""
