"""Actors and the process that keep the audit trail: sealing, checkpoints and pruning."""
