"""Endpoints of the CRM: contacts, their properties, notes, merges and timelines, imports and exports."""
