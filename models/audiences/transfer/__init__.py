"""Import and export of contacts.

A file goes through these modules: `detection` (encoding, delimiter, columns), `records` (one row after the other, with
its position), `mapping` (column to field), `cleaning` (text to value), `planning` (match rows with contacts), `imports`
(apply a batch). `writing` has the formats of exports, and `exports` their rows.
"""
