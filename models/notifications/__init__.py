"""Notifications: messages to members of a brand, and to system admins, about events that need their attention.

Tables: `public.notifications` (one row for each person and event) and `public.notification_preferences`. The owner of
an event calls `notifications.notify` in the transaction of the event; a job creates the rows and enqueues the mails.

Public modules: `notifications` (notify, list, mark as read, preferences), `kinds` (kinds, their texts and defaults),
`personal_data`.
May import: `identity`, `jobs` and `core`.
"""
