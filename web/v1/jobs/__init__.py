"""Endpoints of jobs and dead letters."""
