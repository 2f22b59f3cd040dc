"""Endpoints of jobs, actors, queues and dead letters."""
