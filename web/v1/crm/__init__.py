"""Endpoints of the CRM: contacts, their imports and exports."""
