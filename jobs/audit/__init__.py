"""Seal the audit trail, store its checkpoints outside the database and delete expired entries.

Public modules: `seal` is the seal process; `maintenance` stores checkpoints and deletes expired entries; `actors`
reports unsealed entries and overdue checkpoints; `stores` holds the places for checkpoints.
Imports `models.audit` and the job engine.
"""
