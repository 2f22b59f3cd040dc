"""Actors that send mail, its templates and the SMTP client."""
